"""The whole of `fintunnel compare`, top to bottom: cases → answers of every system → measures → the report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import fintunnel
from fintunnel.rating_file import RatingPair
from fintunnel.wire import NewsRequest, ReportRequest

from fintunnel_training.comparison import notes
from fintunnel_training.comparison.answers import AnswerFile, StoredSystem
from fintunnel_training.comparison.asking import Plan, ask_all, plan
from fintunnel_training.comparison.baselines import BASELINES, FIELDS, predict, read_labelled, usual_citations
from fintunnel_training.comparison.cases import Case, CaseFile, draw
from fintunnel_training.comparison.description import data_of, system_of
from fintunnel_training.comparison.examples import examples
from fintunnel_training.comparison.judging import Judge
from fintunnel_training.comparison.outcomes import Outcome, outcome_of
from fintunnel_training.comparison.people import RATINGS, people_of, rated_pairs
from fintunnel_training.comparison.reproduction import commands, versions
from fintunnel_training.comparison.result import ComparisonResult, People, Said, System
from fintunnel_training.comparison.systems import Choice, sources
from fintunnel_training.errors import DataError, OptionError

__all__ = ["ANSWERS", "Found", "Options", "compare", "people"]

ANSWERS = "answers.sqlite"
_NOBODY = (
    "没有可比的系统：请给 --adapter、--url、--hosted 之一，或用 --join 合并别处的回答（--rate 评的也是它们的回答）"
)
_ORDER = {"base": 0, "tuned": 1, "hosted": 2}


@dataclass(frozen=True)
class Options:
    """`rows`: news, spread over time; None for all. `texts`: news, and report questions, for which text is written.
    `join`: answer files of other machines; `ratings`: rating files, besides the one in `out`. `against`: whom people
    compare the tuned model with; `pairs`: how many pairs they are shown.
    `command`: as it was typed, for whoever repeats it."""

    out: Path
    choice: Choice = field(default_factory=Choice)
    training: Path | None = None
    rows: int | None = None
    texts: int = 60
    seed: int = 0
    seeds: int = 5
    resamples: int = 2000
    join: Sequence[Path] = ()
    ratings: Sequence[Path] = ()
    against: str | None = None
    pairs: int = 30
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """`loss_curves`: PNG by system. `failures`: by system, why it could not be asked to the end. `pairs`: what people
    could rate."""

    result: ComparisonResult
    loss_curves: dict[str, bytes]
    failures: dict[str, str]
    pairs: list[RatingPair]


def compare(cases: CaseFile, options: Options) -> Found:
    """Ask, judge, and say what was found. Answers are kept in `options.out` / "answers.sqlite"; those already there are
    not asked for again.

    Raises:
        FinTunnelError: nothing could be asked or judged; what had come by then is kept.
    """
    began = time.monotonic()
    chosen, remarks = _chosen(cases, options.rows)
    wanted = plan(chosen, options.texts, options.seed)
    found = sources(options.choice)
    if not found and not options.join and not (options.out / ANSWERS).is_file():
        raise OptionError(_NOBODY)
    with AnswerFile(options.out / ANSWERS) as answers:
        wanted_systems: set[str] = set()
        for other in options.join:
            taken, joined = answers.join(other)
            wanted_systems |= joined
            remarks.append(notes.joined(other.name, taken))
        failures = ask_all(found, wanted, answers)
        wanted_systems |= {system.stored.fingerprint for source in found for system in source.systems}
        # Without any that is named, all that the file holds; else none of an earlier run under the same name.
        systems = _shown([each for each in answers.systems() if not found or each.fingerprint in wanted_systems])
        if not systems:
            raise OptionError(_NOBODY)
        outcomes = [outcome_of(system, chosen, wanted, answers) for system in systems]
    names = {system.fingerprint: system.name for system in systems}
    stopped = {names[fingerprint]: reason for fingerprint, reason in failures.items()}
    if not any(outcome.answers for outcome in outcomes):
        reasons = [f"{name}：{reason}" for name, reason in stopped.items()]
        raise DataError("没有得到任何回答。" + ("；".join(reasons) or "存下的回答不是对这些问题的"))
    baselines, training_rows = _baselines(chosen, wanted, options, remarks)
    remarks += [*notes.about_systems(outcomes, stopped), *notes.about_cases(chosen, wanted)]
    judge = Judge(chosen, options.resamples, _seeds(options))
    everyone = [*outcomes, *baselines]
    by_system = list(zip(systems, outcomes, strict=True))
    tuned = [(outcome, _base_of(system, by_system)) for system, outcome in by_system if system.kind == "tuned"]
    pairs = _pairs(draw(wanted.text, options.pairs, options.seed + 4), outcomes, tuned, options.against)
    result = ComparisonResult(
        fintunnel_version=fintunnel.__version__,
        created_at=datetime.now(UTC),
        seed=options.seed,
        resamples=options.resamples,
        seeds=options.seeds,
        took_seconds=0.0,
        data=data_of(cases, chosen, wanted, training_rows),
        systems=[system_of(system, outcome, stopped) for system, outcome in zip(systems, outcomes, strict=True)]
        + [System(name=outcome.name, kind="baseline") for outcome in baselines],
        measures=judge.measures(everyone),
        differences=[each for outcome, base in tuned for each in judge.differences(outcome, base, baselines)],
        reliability=_present(judge.reliability(outcome, name) for name in FIELDS for outcome in everyone),
        confusion=_present(judge.confusion(outcome, name) for name in FIELDS for outcome in everyone),
        examples=examples(wanted, outcomes, tuned[0][0] if tuned else None, options.seed),
        training=[system.training for system in systems if system.training is not None],
        people=people(options, pairs),
        card=cases.card,
        pictures={},
        notes=remarks,
        reproduce=commands(cases.card, options.training, systems, options.command),
        versions=versions(),
    )
    result.took_seconds = time.monotonic() - began
    curves = {system.name: system.loss_curve for system in systems if system.loss_curve is not None}
    return Found(result, curves, stopped, pairs)


def _base_of(tuned: StoredSystem, by_system: Sequence[tuple[StoredSystem, Outcome]]) -> Outcome | None:
    """The base that it was tuned from, among those that were asked. Where only one was, a server or another machine
    may call it otherwise."""
    bases = [(system, outcome) for system, outcome in by_system if system.kind == "base"]
    if len(bases) == 1:
        return bases[0][1]
    return next((outcome for system, outcome in bases if system.model == tuned.model), None)


def people(options: Options, pairs: Sequence[RatingPair]) -> People | None:
    """What people have said by now of these pairs; what they said of other answers says nothing about these."""
    here = options.out / RATINGS
    files = [*([here] if here.is_file() else []), *options.ratings]
    return people_of(files, {pair.key for pair in pairs}, _seeds(options), options.resamples)


def _seeds(options: Options) -> tuple[int, ...]:
    return tuple(range(options.seed, options.seed + options.seeds))


def _pairs(
    shown: Sequence[Case],
    outcomes: Sequence[Outcome],
    tuned: Sequence[tuple[Outcome, Outcome | None]],
    against: str | None,
) -> list[RatingPair]:
    """The first tuned model beside `against`: its base, else whoever else there is."""
    first, base = next(iter(tuned), (None, None))
    if against is not None:
        second = next((outcome for outcome in outcomes if outcome.name == against), None)
        if second is None or second is first:
            names = "、".join(outcome.name for outcome in outcomes if outcome is not first)
            raise OptionError(f"--against {against}：可以是 {names or '（没有别的系统）'}")
    else:
        second = base or next((outcome for outcome in outcomes if outcome is not first), None)
    return [] if first is None or second is None else rated_pairs(shown, first, second)


_T = TypeVar("_T")


def _present(found: Iterable[_T | None]) -> list[_T]:
    return [each for each in found if each is not None]


def _chosen(cases: CaseFile, rows: int | None) -> tuple[list[Case], list[Said]]:
    """All report questions, and the news, of which `rows` are spread over time."""
    remarks = [notes.repeated(cases.repeated)] if cases.repeated else []
    news = [case for case in cases.cases if isinstance(case.request, NewsRequest)]
    if rows is not None and rows < len(news):
        remarks.append(notes.sampled(rows, len(news)))
        in_time = sorted(news, key=lambda case: case.at.timestamp() if case.at is not None else 0.0)
        news = [in_time[number * len(news) // rows] for number in range(rows)]
    kept = {case.key for case in news}
    return [case for case in cases.cases if case.key in kept or isinstance(case.request, ReportRequest)], remarks


def _shown(systems: Sequence[StoredSystem]) -> list[StoredSystem]:
    """The base first. Names that two bases, servers or joined files have in common are told apart."""
    names: dict[str, int] = {}
    shown = []
    for system in sorted(systems, key=lambda system: _ORDER.get(system.kind, 3)):
        number = names[system.name] = names.get(system.name, 0) + 1
        name = system.name if number == 1 else f"{system.name}-{number}"
        training = None if system.training is None else system.training.model_copy(update={"system": name})
        shown.append(replace(system, name=name, training=training))
    return shown


def _baselines(cases: Sequence[Case], wanted: Plan, options: Options, remarks: list[Said]) -> tuple[list[Outcome], int]:
    """The baselines' outcomes, and how many news they learnt from."""
    labelled = [(n, case.request) for n, case in enumerate(cases) if isinstance(case.request, NewsRequest)]
    if not any(case.impact or case.direction or case.citations for case in cases):
        return [], 0
    if options.training is None:
        remarks.append(notes.NO_TRAINING_FILE)
        return [], 0
    training, validation = read_labelled(options.training)
    outcomes = {name: Outcome(name) for name in BASELINES}
    for name in FIELDS:
        asked = [(n, request) for n, request in labelled if getattr(cases[n], name) is not None]
        if not asked:
            continue
        predicted = predict(name, training, validation, [request for _, request in asked], options.seed)
        if not predicted:
            remarks.append(notes.too_little_training(options.training.name, name))
        for baseline, prediction in predicted.items():
            outcomes[baseline].rows[name] = [n for n, _ in asked]
            outcomes[baseline].predictions[name] = prediction
    _cite_as_usual(outcomes["majority"], usual_citations(options.training), wanted.text)
    return [outcome for outcome in outcomes.values() if outcome.rows or outcome.values], len(training)


def _cite_as_usual(majority: Outcome, citations: tuple[int, ...] | None, asked: Sequence[Case]) -> None:
    """The majority of report questions: always what the training split cites most often, and never a word."""
    if citations is None:
        return
    for case in asked:
        if isinstance(case.request, ReportRequest) and case.citations:
            majority.values.setdefault("citations_right", {})[case.key] = float(case.citations == citations)

"""The whole of `fintunnel compare`, top to bottom: cases → answers of every system → measures → the report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import fintunnel
from fintunnel.rating_file import RatingPair
from fintunnel.wire import NewsRequest, ReportRequest

from fintunnel_training.comparison.answers import AnswerFile, StoredSystem
from fintunnel_training.comparison.asking import Plan, ask_all, plan
from fintunnel_training.comparison.baselines import BASELINES, FIELDS, predict, read_labelled
from fintunnel_training.comparison.cases import Case, CaseFile
from fintunnel_training.comparison.examples import examples
from fintunnel_training.comparison.judging import Judge
from fintunnel_training.comparison.outcomes import Outcome, outcome_of
from fintunnel_training.comparison.people import RATINGS, people_of, rated_pairs
from fintunnel_training.comparison.reproduction import commands, versions
from fintunnel_training.comparison.result import ComparisonResult, Data, FieldName, People, System
from fintunnel_training.comparison.systems import Choice, sources
from fintunnel_training.errors import DataError, OptionError

__all__ = ["ANSWERS", "Found", "Options", "compare", "people"]

ANSWERS = "answers.sqlite"
_ORDER = {"base": 0, "tuned": 1, "hosted": 2}


@dataclass(frozen=True)
class Options:
    """`rows`: news, spread over time; None for all. `texts`: news, and report questions, for which text is written.
    `join`: answer files of other machines; `ratings`: rating files, besides the one in `out`. `against`: whom people
    compare the tuned model with. `command`: as it was typed, for whoever repeats it."""

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
    chosen, notes = _chosen(cases, options.rows)
    wanted = plan(chosen, options.texts, options.seed)
    found = sources(options.choice)
    with AnswerFile(options.out / ANSWERS) as answers:
        wanted_systems: set[str] = set()
        for other in options.join:
            taken, joined = answers.join(other)
            wanted_systems |= joined
            notes.append(f"合并了 {other.name}：{taken} 个新回答。")
        failures = ask_all(found, wanted, answers)
        wanted_systems |= {system.stored.fingerprint for source in found for system in source.systems}
        # Without any that is named, all that the file holds; else none of an earlier run under the same name.
        systems = _shown([each for each in answers.systems() if not found or each.fingerprint in wanted_systems])
        if not systems:
            raise OptionError("没有可比的系统：请给 --adapter、--url、--hosted 之一，或用 --join 合并别处的回答")
        outcomes = [outcome_of(system, chosen, wanted, answers) for system in systems]
    if not any(outcome.answers for outcome in outcomes):
        reasons = [f"{name}：{reason}" for name, reason in failures.items()]
        raise DataError("没有得到任何回答。" + ("；".join(reasons) or "存下的回答不是对这些问题的"))
    notes += [f"{name} 没有问完：{reason}" for name, reason in failures.items()]
    notes += [
        f"{outcome.name} 只有 {outcome.asked} 个问题中 {len(outcome.answers)} 个的回答：合并的回答要用相同的 --data、"
        "--rows、--texts 和 --seed 得到。"
        for outcome in outcomes
        if outcome.name not in failures and outcome.failed + len(outcome.answers) < outcome.asked
    ]

    baselines, known = _baselines(chosen, options, notes)
    judge = Judge(chosen, options.resamples, _seeds(options))
    _note_limits(chosen, wanted, notes)
    everyone = [*outcomes, *baselines]
    kinds = {system.name: system.kind for system in systems}
    base = next((outcome for outcome in outcomes if kinds[outcome.name] == "base"), None)
    tuned = [outcome for outcome in outcomes if kinds[outcome.name] == "tuned"]
    result = ComparisonResult(
        fintunnel_version=fintunnel.__version__,
        created_at=datetime.now(UTC),
        seed=options.seed,
        resamples=options.resamples,
        seeds=options.seeds,
        took_seconds=0.0,
        data=_data(cases, chosen, wanted, known),
        systems=[_system(system, outcome, failures) for system, outcome in zip(systems, outcomes, strict=True)]
        + [System(name=outcome.name, kind="baseline") for outcome in baselines],
        measures=judge.measures(everyone),
        differences=[each for outcome in tuned for each in judge.differences(outcome, base, baselines)],
        best_baseline=judge.best_baselines(baselines),
        reliability=_present(judge.reliability(outcome, name) for name in FIELDS for outcome in everyone),
        confusion=_present(judge.confusion(outcome, name) for name in FIELDS for outcome in everyone),
        examples=examples(wanted, outcomes, next(iter(tuned), None), options.seed),
        training=[system.training for system in systems if system.training is not None],
        people=people(options),
        card=cases.card,
        pictures={},
        notes=notes,
        reproduce=commands(cases.card, options.training, systems, options.command),
        versions=versions(),
    )
    result.took_seconds = time.monotonic() - began
    curves = {system.name: system.loss_curve for system in systems if system.loss_curve is not None}
    return Found(result, curves, failures, _pairs(wanted, outcomes, tuned, base, options.against))


def people(options: Options) -> People | None:
    """What people have said by now."""
    here = options.out / RATINGS
    files = [*([here] if here.is_file() else []), *options.ratings]
    return people_of(files, _seeds(options), options.resamples)


def _seeds(options: Options) -> tuple[int, ...]:
    return tuple(range(options.seed, options.seed + options.seeds))


def _pairs(
    wanted: Plan, outcomes: Sequence[Outcome], tuned: Sequence[Outcome], base: Outcome | None, against: str | None
) -> list[RatingPair]:
    """The first tuned model beside `against`: its base, else whoever else there is."""
    first = next(iter(tuned), None)
    if against is not None:
        second = next((outcome for outcome in outcomes if outcome.name == against), None)
        if second is None or second is first:
            names = "、".join(outcome.name for outcome in outcomes if outcome is not first)
            raise OptionError(f"--against {against}：可以是 {names or '（没有别的系统）'}")
    else:
        second = base or next((outcome for outcome in outcomes if outcome is not first), None)
    return [] if first is None or second is None else rated_pairs(wanted, first, second)


_T = TypeVar("_T")


def _present(found: Iterable[_T | None]) -> list[_T]:
    return [each for each in found if each is not None]


def _chosen(cases: CaseFile, rows: int | None) -> tuple[list[Case], list[str]]:
    """All report questions, and the news, of which `rows` are spread over the file."""
    notes = []
    if cases.repeated:
        notes.append(f"{cases.repeated} 行与前面的行问的完全相同，只算一次。")
    news = [case for case in cases.cases if isinstance(case.request, NewsRequest)]
    if rows is not None and rows < len(news):
        notes.append(f"{len(news)} 条新闻里按时间均匀取 {rows} 条（--rows）。")
        news = [news[number * len(news) // rows] for number in range(rows)]
    kept = {case.key for case in news}
    return [case for case in cases.cases if case.key in kept or isinstance(case.request, ReportRequest)], notes


def _shown(systems: Sequence[StoredSystem]) -> list[StoredSystem]:
    """The base first. Names that joined files have in common are told apart."""
    names: dict[str, int] = {}
    shown = []
    for system in sorted(systems, key=lambda system: _ORDER.get(system.kind, 3)):
        number = names[system.name] = names.get(system.name, 0) + 1
        name = system.name if number == 1 else f"{system.name}-{number}"
        training = None if system.training is None else system.training.model_copy(update={"system": name})
        shown.append(
            StoredSystem(
                system.fingerprint, name, system.kind, system.model, system.adapter, training, system.loss_curve
            )
        )
    return shown


def _baselines(cases: Sequence[Case], options: Options, notes: list[str]) -> tuple[list[Outcome], int]:
    """The baselines' outcomes, and how many news they learnt from."""
    labelled = [(n, case.request) for n, case in enumerate(cases) if isinstance(case.request, NewsRequest)]
    if not any(case.impact or case.direction for case in cases):
        return [], 0
    if options.training is None:
        notes.append("没有训练集，所以没有基线。请用 --train X.jsonl 指明，或把测试集放在它旁边。")
        return [], 0
    training, validation = read_labelled(options.training)
    outcomes = {name: Outcome(name, is_baseline=True) for name in BASELINES}
    for name in FIELDS:
        asked = [(n, request) for n, request in labelled if getattr(cases[n], name) is not None]
        if not asked:
            continue
        predicted = predict(name, training, validation, [request for _, request in asked], options.seed)
        if not predicted:
            notes.append(f"训练集 {options.training.name} 里带标签的新闻太少或只有一类，没有{_FIELD_ZH[name]}的基线。")
        for baseline, prediction in predicted.items():
            outcomes[baseline].rows[name] = [n for n, _ in asked]
            outcomes[baseline].predictions[name] = prediction
    return [outcome for outcome in outcomes.values() if outcome.rows], len(training)


_FIELD_ZH: dict[FieldName, str] = {"impact": "影响程度", "direction": "短线方向"}


def _note_limits(cases: Sequence[Case], wanted: Plan, notes: list[str]) -> None:
    news = [case for case in cases if isinstance(case.request, NewsRequest)]
    if news and not any(case.impact or case.direction for case in news):
        notes.append("这些新闻没有标签，所以没有影响程度和短线方向的指标，只有形式、速度和并排的回答。")
    elif any(case.at is None for case in news):
        notes.append("有的新闻没有发布时间：它们各算一天，同一天行情的关联没有算进区间里，区间可能偏窄。")
    for name in FIELDS:
        seen = {getattr(case, name) for case in news} - {None}
        if len(seen) == 1:
            notes.append(f"{_FIELD_ZH[name]}只出现了一个类别（{seen.pop()}），分不出好坏。")
    if any(case.answer for case in cases) and not any(isinstance(case.request, ReportRequest) for case in wanted.text):
        notes.append("没有问财报题（--texts 0）。")


def _data(file: CaseFile, cases: Sequence[Case], wanted: Plan, known: int) -> Data:
    news = [case for case in cases if isinstance(case.request, NewsRequest)]
    times = sorted(case.at for case in news if case.at is not None)
    classes: dict[FieldName, dict[str, int]] = {
        name: {label: sum(getattr(case, name) == label for case in news) for label in labels}
        for name, labels in FIELDS.items()
    }
    return Data(
        source=file.path.name if file.path is not None else "--cases",
        sha256=file.sha256,
        news=len(news),
        labelled=sum(case.impact is not None or case.direction is not None for case in news),
        with_context=sum(isinstance(case.request, NewsRequest) and case.request.context is not None for case in news),
        explained=sum(isinstance(case.request, NewsRequest) for case in wanted.text),
        reports=sum(isinstance(case.request, ReportRequest) for case in wanted.text),
        days=len({case.beijing_day for case in news} - {None}),
        first=times[0] if times else None,
        last=times[-1] if times else None,
        horizon_min=next((case.horizon_min for case in news), 15),
        classes={name: counts for name, counts in classes.items() if any(counts.values())},
        training_rows=known,
    )


def _system(system: StoredSystem, outcome: Outcome, failures: dict[str, str]) -> System:
    return System(
        name=system.name,
        kind=system.kind,
        model=system.model,
        adapter=system.adapter,
        calibrated=outcome.calibrated,
        asked=outcome.asked,
        answered=len(outcome.answers),
        failed=outcome.failed,
        failure=failures.get(system.name) or outcome.failure,
    )

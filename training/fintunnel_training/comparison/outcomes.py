"""What each system said, laid out for judging: class predictions by field, and one number a question for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from fintunnel.errors import MalformedAnswerError
from fintunnel.wire import ModelInfo, NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest, Timing, Usage
from fintunnel.written_answer import analysis_from_text

from fintunnel_training.comparison.answers import AnswerFile, StoredAnswer, StoredSystem
from fintunnel_training.comparison.asking import Plan
from fintunnel_training.comparison.baselines import FIELDS, Prediction
from fintunnel_training.comparison.cases import Case
from fintunnel_training.comparison.result import FieldName, MeasureName
from fintunnel_training.comparison.writing import foreign_share, repeated_share, right_figures, says_not_stated

__all__ = ["Outcome", "given_text", "outcome_of"]

_NOBODY = {
    "id": "",
    "model": ModelInfo(backend="finetuned", base="", adapter=None, prompt_version=1),
    "usage": Usage(prompt_tokens=0, completion_tokens=0),
    "timing_ms": Timing(queue=0, model=0, total=0),
}


@dataclass
class Outcome:
    """One system's answers.

    Attributes:
        answers: by the case's key; of a case that was asked for text, the one with text.
        asked, failed: of the questions of the plan, free ones and those asked alone aside.
        without_probabilities: so many answers with labels came without.
        rows, predictions: by field, the places in the list of cases that have a prediction, and the predictions.
        values: by measure, one number for each case by its key.
        single: measures that are one number as they are.
    """

    name: str
    answers: dict[str, NewsAnalysis | ReportAnswer] = field(default_factory=dict)
    asked: int = 0
    failed: int = 0
    failure: str | None = None
    calibrated: bool = False
    without_probabilities: int = 0
    rows: dict[FieldName, list[int]] = field(default_factory=dict)
    predictions: dict[FieldName, Prediction] = field(default_factory=dict)
    values: dict[MeasureName, dict[str, float]] = field(default_factory=dict)
    single: dict[MeasureName, float] = field(default_factory=dict)


def outcome_of(system: StoredSystem, cases: Sequence[Case], wanted: Plan, stored: AnswerFile) -> Outcome:
    """Everything that the file holds of one system's answers to the plan."""
    by_way = {asked: stored.answers(system.fingerprint, asked) for asked in wanted.by_way()}
    outcome = Outcome(system.name)
    results = {case.key: by_way["text"].get(case.key) for case in wanted.text}
    results |= {case.key: by_way["labels"].get(case.key) for case in wanted.labels}
    outcome.asked = len(results)
    came = {key: result for key, result in results.items() if result is not None}
    outcome.answers = {key: result.analysis for key, result in came.items() if result.analysis is not None}
    outcome.failed = len(came) - len(outcome.answers)
    outcome.failure = next((result.failure for result in came.values() if result.failure is not None), None)
    outcome.calibrated = any(answer.calibrated for answer in outcome.answers.values())
    for name in FIELDS:
        _take_labels(outcome, name, cases)
    # What was never asked, for want of a balance or of a server, is no answer of bad form.
    outcome.values["valid"] = {
        key: float(result.analysis is not None)
        for key, result in came.items()
        if result.analysis is not None or result.malformed
    }
    outcome.values["valid_free"] = _free_form(wanted.free, by_way["free"])
    _take_texts(outcome, wanted.text)
    alone = [each.analysis for each in by_way["alone"].values() if each.analysis is not None]
    if alone:
        outcome.single["milliseconds"] = median(answer.timing_ms.total for answer in alone)
    rate = stored.rate(system.fingerprint, "labels") or stored.rate(system.fingerprint, "text")
    if rate is not None:
        outcome.single["requests_per_second"] = rate
    return outcome


def _take_labels(outcome: Outcome, field: FieldName, cases: Sequence[Case]) -> None:
    classes = FIELDS[field]
    rows, guesses, probabilities = [], [], []
    for place, case in enumerate(cases):
        answer = outcome.answers.get(case.key)
        if isinstance(answer, NewsAnalysis) and getattr(case, field) is not None:
            rows.append(place)
            guesses.append(classes.index(getattr(answer, field)))
            probabilities.append(_probabilities(answer, field))
    if rows:
        missing = sum(each is None for each in probabilities)
        outcome.without_probabilities = max(outcome.without_probabilities, missing)
        known = None if missing else np.array(probabilities)
        outcome.rows[field] = rows
        outcome.predictions[field] = Prediction(np.eye(len(classes))[guesses], known, known)


def _probabilities(answer: NewsAnalysis, field: FieldName) -> list[float] | None:
    given = (answer.impact_probs if field == "impact" else answer.direction_probs) or {}
    by_label: dict[str, float] = {str(label): probability for label, probability in given.items()}
    return [by_label[label] for label in FIELDS[field]] if set(by_label) == set(FIELDS[field]) else None


def _free_form(asked: Sequence[Case], written: Mapping[str, StoredAnswer]) -> dict[str, float]:
    """Whether what a model wrote as a chat is the JSON that the prompt asks for."""
    return {
        case.key: float(_is_valid(text, case.request.model_copy(update={"explain": True})))
        for case in asked
        if case.key in written and (text := written[case.key].written) is not None
    }


def _is_valid(text: str, request: NewsRequest | ReportRequest) -> bool:
    try:
        analysis_from_text(text, request, _NOBODY)
    except MalformedAnswerError:
        return False
    return True


def given_text(request: NewsRequest | ReportRequest) -> str:
    """All that a request says in words and figures."""
    if isinstance(request, ReportRequest):
        return "\n".join([request.question, *(f"{p.source} {p.page or ''} {p.text}" for p in request.passages)])
    return request.text


def _take_texts(outcome: Outcome, asked: Sequence[Case]) -> None:
    about: dict[MeasureName, Callable[[str, str], float]] = {
        "characters": lambda text, _: float(len(text)),
        "repetition": lambda text, _: repeated_share(text),
        "foreign_characters": foreign_share,
    }
    names: tuple[MeasureName, ...] = (
        *about, "figures_right", "citations_right", "not_stated_right", "prompt_tokens", "completion_tokens",
    )  # fmt: skip
    outcome.values |= {name: {} for name in names}
    for case in asked:
        answer = outcome.answers.get(case.key)
        if answer is None:
            continue
        text = (answer.rationale if isinstance(answer, NewsAnalysis) else answer.answer) or ""
        source = given_text(case.request)
        for name, measure in about.items():
            outcome.values[name][case.key] = measure(text, source)
        outcome.values["prompt_tokens"][case.key] = answer.usage.prompt_tokens
        outcome.values["completion_tokens"][case.key] = answer.usage.completion_tokens
        if isinstance(answer, ReportAnswer):
            _take_report(outcome, case, answer, text, source)


def _take_report(outcome: Outcome, case: Case, answer: ReportAnswer, text: str, source: str) -> None:
    """A question whose passages do not say is judged by whether the answer says so; the others by figures and
    citations."""
    if case.answer is not None and says_not_stated(case.answer) and not case.citations:
        right = not answer.citations and says_not_stated(text)
        outcome.values["not_stated_right"][case.key] = float(right)
        return
    right_result = None if case.answer is None else right_figures(text, case.answer, source)
    if right_result is not None:
        outcome.values["figures_right"][case.key] = float(right_result)
    if case.citations is not None:
        outcome.values["citations_right"][case.key] = float(set(answer.citations) == set(case.citations))

"""Which answers are shown side by side: some drawn by the seed, and the worst of the tuned model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fintunnel.wire import NewsAnalysis, NewsRequest, ReportAnswer

from fintunnel_training.comparison.asking import Plan
from fintunnel_training.comparison.cases import Case, draw
from fintunnel_training.comparison.outcomes import Outcome
from fintunnel_training.comparison.result import Answer, Example

__all__ = ["examples"]

_NEWS, _REPORTS = 13, 7  # drawn, together 20
_WORST = 3  # of each kind
_LEAST_PROBABILITY = 1e-6


def examples(wanted: Plan, outcomes: Sequence[Outcome], worst_of: Outcome | None, seed: int) -> list[Example]:
    """Of what was asked with text. `outcomes`: in the order in which they are shown; `worst_of`: the tuned model."""
    news = [case for case in wanted.text if isinstance(case.request, NewsRequest)]
    reports = [case for case in wanted.text if case not in news]
    if all(case.impact is None and case.direction is None and case.answer is None for case in wanted.text):
        return [_example("asked", case, outcomes) for case in wanted.text]
    drawn_reports = draw(reports, max(_REPORTS, _NEWS + _REPORTS - len(news)), seed + 3)
    drawn = draw(news, _NEWS + _REPORTS - len(drawn_reports), seed + 3) + drawn_reports
    worst = [] if worst_of is None else _worst(news, worst_of) + _worst(reports, worst_of)
    return [_example("drawn", case, outcomes) for case in drawn] + [
        _example("worst", case, outcomes) for case in worst if case not in drawn
    ]


def _worst(cases: Sequence[Case], outcome: Outcome) -> list[Case]:
    """Those that it got most wrong; of what it got right none."""
    faults = {case.key: _fault(case, outcome) for case in cases}
    ranked = sorted(cases, key=lambda case: -faults[case.key])
    return [case for case in ranked[:_WORST] if faults[case.key] > 0]


def _fault(case: Case, outcome: Outcome) -> float:
    """Of news, how little probability stood on what happened, where its labels were wrong; of a report question, how
    many of figures, citations and "not stated" were wrong."""
    answer = outcome.answers.get(case.key)
    if isinstance(answer, ReportAnswer):
        judged = [
            outcome.values[name][case.key]
            for name in ("figures_right", "citations_right", "not_stated_right")
            if case.key in outcome.values.get(name, {})
        ]
        return sum(1 - each for each in judged)
    if not isinstance(answer, NewsAnalysis):
        return 0.0
    fault = 0.0
    for truth, said, probabilities in (
        (case.impact, answer.impact, answer.impact_probs or {}),
        (case.direction, answer.direction, answer.direction_probs or {}),
    ):
        if truth is not None and said != truth:
            by_label = {str(label): probability for label, probability in probabilities.items()}
            fault -= math.log(max(by_label.get(truth, 0.5), _LEAST_PROBABILITY))
    return fault


def _example(chosen: str, case: Case, outcomes: Sequence[Outcome]) -> Example:
    return Example.model_validate(
        {
            "chosen": chosen,
            "request": case.request,
            "impact": case.impact,
            "direction": case.direction,
            "reference": case.answer,
            "reference_citations": None if case.citations is None else list(case.citations),
            "answers": [_answer(case, outcome) for outcome in outcomes],
        }
    )


def _answer(case: Case, outcome: Outcome) -> Answer:
    answer = outcome.answers.get(case.key)
    if answer is None:
        return Answer(system=outcome.name, failure=outcome.failure or "没有问到")
    if isinstance(answer, ReportAnswer):
        return Answer(system=outcome.name, citations=answer.citations, text=answer.answer)
    return Answer.model_validate(
        {
            "system": outcome.name,
            "impact": answer.impact,
            "impact_probs": answer.impact_probs,
            "direction": answer.direction,
            "direction_probs": answer.direction_probs,
            "signals": answer.signals,
            "text": answer.rationale,
        }
    )

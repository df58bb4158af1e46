"""Questions with everybody's answers, as they are set side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC

from fintunnel.prompt import BEIJING, format_number
from fintunnel.wire import DIRECTIONS, IMPACTS, NewsRequest

from fintunnel_training.comparison.report.findings import Findings
from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.report.word_diff import Segment, diff_texts
from fintunnel_training.comparison.result import Answer, ComparisonResult, Example, FieldName

__all__ = ["AnswerView", "Bar", "ExampleView", "examples_view"]

_CLASSES: dict[FieldName, tuple[str, ...]] = {"impact": IMPACTS, "direction": DIRECTIONS}


@dataclass(frozen=True)
class Bar:
    """One class of a field: `share` between 0 and 1, or None where no probabilities were given."""

    field: FieldName
    name: str
    label: str
    share: float | None
    chosen: bool


@dataclass
class AnswerView:
    """`hits`: field -> whether its label is what followed, for fields where that is known. `marks`: how `text` differs
    from the other's: "gone" in the base's, "new" in a tuned one's, None where nothing is marked."""

    answer: Answer
    kind: str
    bars: dict[FieldName, list[Bar]]
    hits: dict[FieldName, bool]
    text: list[Segment]
    marks: str | None = None
    unlike: bool = False


@dataclass
class ExampleView:
    example: Example
    known: list[tuple[str, str]]
    truth: list[tuple[str, str]]
    answers: list[AnswerView] = field(default_factory=list)


def examples_view(result: ComparisonResult, say: Say) -> dict[str, list[ExampleView]]:
    """By how they were chosen: drawn ones first, then those asked for, the worst last."""
    findings = Findings(result)
    return {
        chosen: found
        for chosen in ("drawn", "asked", "worst")
        if (found := [_example(each, findings, say) for each in result.examples if each.chosen == chosen])
    }


def _example(example: Example, findings: Findings, say: Say) -> ExampleView:
    view = ExampleView(example, _known(example, say), _truth(example, say))
    view.answers = [_answer(answer, example, findings, say) for answer in example.answers]
    _mark(view, findings)
    return view


def _known(example: Example, say: Say) -> list[tuple[str, str]]:
    """What was known when the question came up."""
    request = example.request
    if not isinstance(request, NewsRequest):
        return []
    known = []
    if request.published_at is not None:
        at = request.published_at
        at = at.astimezone(UTC).astimezone(BEIJING) if at.tzinfo is not None else at
        known.append((say("发布（北京）", "Published (Beijing)"), f"{at:%Y-%m-%d %H:%M}"))
    if request.importance is not None:
        known.append((say("重要性", "Importance"), f"{request.importance}/5"))
    if request.figures is not None:
        figures, unit = request.figures, request.figures.unit or ""
        for name, value in (
            (say("实际", "Actual"), figures.actual),
            (say("预期", "Consensus"), figures.consensus),
            (say("前值", "Previous"), figures.previous),
        ):
            if value is not None:
                known.append((name, f"{format_number(value)}{unit}"))
    if request.context is not None:
        context = request.context
        minutes = context.window_min
        known.append((say(f"此前 {minutes} 分钟", f"{minutes} minutes before"), f"{context.pre_return * 100:+.2f}%"))
        known.append((say("波幅", "Range"), f"{context.volatility * 100:.2f}%"))
        known.append((say("常见波动", "Typical move"), f"{context.typical_move * 100:.3f}%"))
    return known


def _truth(example: Example, say: Say) -> list[tuple[str, str]]:
    truth = [(say.field(f), say.label(name)) for f, name in _labels(example).items()]
    if example.reference is not None:
        cited = "".join(f"[{number}]" for number in example.reference_citations or [])
        truth.append((say("标准答案", "Reference"), f"{example.reference} {cited}".strip()))
    return truth


def _labels(example: Example) -> dict[FieldName, str]:
    pairs: tuple[tuple[FieldName, str | None], ...] = (("impact", example.impact), ("direction", example.direction))
    return {name: label for name, label in pairs if label is not None}


def _answer(answer: Answer, example: Example, findings: Findings, say: Say) -> AnswerView:
    given: dict[FieldName, tuple[str | None, dict[str, float] | None]] = {
        "impact": (answer.impact, answer.impact_probs),
        "direction": (answer.direction, answer.direction_probs),
    }
    bars: dict[FieldName, list[Bar]] = {}
    for name, (label, shares) in given.items():
        if label is not None:
            bars[name] = [
                Bar(name, each, say.label(each), shares.get(each, 0.0) if shares else None, each == label)
                for each in _CLASSES[name]
                if shares or each == label
            ]
    truth = _labels(example)
    hits = {name: given[name][0] == label for name, label in truth.items() if given[name][0] is not None}
    kind = findings.kind(answer.system)
    text = [Segment(answer.text, False)] if answer.text else []
    return AnswerView(answer, say.kind(kind) if kind else "", bars, hits, text)


def _mark(view: ExampleView, findings: Findings) -> None:
    """The base's text against the first tuned one's, and every other tuned one's against the base's."""
    base = next((a for a in view.answers if findings.kind(a.answer.system) == "base" and a.answer.text), None)
    if base is None or base.answer.text is None:
        return
    for tuned in view.answers:
        if findings.kind(tuned.answer.system) != "tuned" or not tuned.answer.text:
            continue
        pair = diff_texts(base.answer.text, tuned.answer.text)
        if pair is None:
            tuned.unlike = True
            continue
        tuned.text, tuned.marks = pair[1], "new"
        if base.marks is None:
            base.text, base.marks = pair[0], "gone"

"""One instruction row: a request rendered by `fintunnel.prompt`, and the answer that it should get.

A row depends on its event, what the market had done before, the edges, and the seed: never on which other rows
were chosen. What followed the event decides `impact` and `direction` and nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from fintunnel.chinese import LABELS_ZH
from fintunnel.prompt import PROMPT_VERSION, Style, render_news_answer, render_prompt, render_report_answer
from fintunnel.wire import HORIZON_MIN, Context, Edges, NewsRequest, ReportRequest

from fintunnel_training.dataset.labels import LabelledEvent, direction_label, impact_label, signal_labels
from fintunnel_training.dataset.rationale import explain, explain_market
from fintunnel_training.dataset.reports.questions import ReportExample
from fintunnel_training.dataset.sources.records import Event, from_minute

__all__ = ["Choice", "Row", "news_row", "report_row"]

Row = dict[str, Any]

_MAX_TEXT = 4000  # what a request may hold


@dataclass(frozen=True, slots=True)
class Choice:
    """One row to be made: of which event, asked how. `use` counts the uses of one event in one kind, from 0."""

    item: LabelledEvent
    kind: Literal["news", "market"]
    style: Style = "json"
    with_context: bool = True
    use: int = 0


def news_row(choice: Choice, edges: Edges, split: str, seed: int, horizon_min: int = HORIZON_MIN) -> Row:
    """The row of one event: its labels from what followed, its rationale from what was known before."""
    item, event, style = choice.item, choice.item.event, choice.style
    rng = random.Random(f"{seed}/{event.id}/{choice.kind}/{choice.use}")
    context = item.context if choice.with_context else None
    impact = impact_label(item.reaction, edges)
    direction = direction_label(item.reaction, edges)
    signals = signal_labels(event, context, edges)
    if style == "market_prose":
        answer = explain_market(event, context, signals, rng)
    else:
        rationale = explain(event, context, rng)
        answer = (
            render_news_answer(impact, direction, signals, rationale)
            if style == "json"
            else f"影响程度：{LABELS_ZH[impact]}；短线方向：{LABELS_ZH[direction]}。{rationale}"
        )
    meta = {
        "event_id": event.id,
        "labels": {"impact": impact, "direction": direction, "signals": signals.model_dump() if signals else None},
        "reaction": {"ret": item.ret, "typical_moves": item.reaction},
    }
    return _row(_news_request(event, context), answer, style, choice.kind, split, horizon_min, meta)


def report_row(example: ReportExample, split: str, origin: Literal["simulated", "files"]) -> Row:
    answer = render_report_answer(example.citations, example.answer)
    meta = {"question_kind": example.kind, "origin": origin}
    return _row(example.request, answer, "json", "report", split, HORIZON_MIN, meta)


def _news_request(event: Event, context: Context | None) -> NewsRequest:
    return NewsRequest(
        text=event.text[:_MAX_TEXT],
        published_at=from_minute(event.minute),
        importance=event.importance,
        figures=event.figures,
        context=context,
    )


def _row(
    request: NewsRequest | ReportRequest,
    answer: str,
    style: Style,
    kind: str,
    split: str,
    horizon_min: int,
    meta: dict[str, Any],
) -> Row:
    prompt = render_prompt(request, style, horizon_min)
    return {
        "instruction": prompt.instruction,
        "input": prompt.input,
        "output": answer,
        "meta": {
            "kind": kind,
            "style": style,
            "split": split,
            "prompt_version": PROMPT_VERSION,
            "horizon_min": horizon_min,
            "request": request.model_dump(mode="json", exclude_defaults=True) | {"task": request.task},
            **meta,
        },
    }

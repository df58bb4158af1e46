"""One instruction row: a request rendered by `fintunnel.prompt`, and the answer that it should get."""

from __future__ import annotations

import random
from itertools import cycle, islice
from typing import Any

from fintunnel.prompt import PROMPT_VERSION, Style, render_example, render_news_answer, render_report_answer
from fintunnel.wire import Context, Direction, Edges, Impact, NewsRequest, ReportRequest

from fintunnel_training.dataset.database import Event, from_minute
from fintunnel_training.dataset.economics import explain, explain_market
from fintunnel_training.dataset.labels import LabelledEvent, direction_label, impact_label, signal_labels
from fintunnel_training.dataset.reports import KINDS, make_report

__all__ = ["Row", "news_row", "report_rows"]

Row = dict[str, Any]

_MAX_TEXT = 4000  # what a request may hold
_IMPACT_ZH: dict[Impact, str] = {"low": "低", "medium": "中", "high": "高"}
_DIRECTION_ZH: dict[Direction, str] = {"bearish": "利空", "neutral": "中性", "bullish": "利好"}


def news_row(
    item: LabelledEvent,
    edges: Edges,
    split: str,
    rng: random.Random,
    style: Style = "json",
    *,
    with_context: bool = True,
    kind: str = "news",
) -> Row:
    """The row of one event: its labels from what followed, its rationale from what was known before."""
    event = item.event
    context = item.context if with_context else None
    impact = impact_label(item.reaction, edges)
    direction = direction_label(item.reaction, edges)
    signals = signal_labels(event, context, edges)
    if style == "market_prose":
        answer = explain_market(context, signals, rng)
    else:
        rationale = explain(event, context, signals, rng)
        answer = (
            render_news_answer(impact, direction, signals, rationale)
            if style == "json"
            else f"影响程度：{_IMPACT_ZH[impact]}；短线方向：{_DIRECTION_ZH[direction]}。{rationale}"
        )
    meta = {
        "event_id": event.id,
        "labels": {
            "impact": impact,
            "direction": direction,
            "signals": signals.model_dump() if signals else None,
        },
    }
    return _row(_news_request(event, context), answer, style, kind, split, meta)


def _news_request(event: Event, context: Context | None) -> NewsRequest:
    return NewsRequest(
        text=event.text[:_MAX_TEXT],
        published_at=from_minute(event.minute),
        importance=event.importance,
        figures=event.figures,
        context=context,
    )


def report_rows(count: int, split: str, rng: random.Random) -> list[Row]:
    """`count` report rows, the kinds of question in turn."""
    rows = []
    for kind in islice(cycle(KINDS), count):
        example = make_report(rng, kind)
        answer = render_report_answer(example.citations, example.answer)
        rows.append(_row(example.request, answer, "json", "report", split, {"question_kind": kind}))
    return rows


def _row(
    request: NewsRequest | ReportRequest,
    answer: str,
    style: Style,
    kind: str,
    split: str,
    meta: dict[str, Any],
) -> Row:
    prompt, _ = render_example(request, answer, style)
    return {
        "instruction": prompt.instruction,
        "input": prompt.input,
        "output": answer,
        "meta": {
            "kind": kind,
            "style": style,
            "split": split,
            "prompt_version": PROMPT_VERSION,
            "request": request.model_dump(mode="json", exclude_defaults=True) | {"task": request.task},
            **meta,
        },
    }

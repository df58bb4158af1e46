"""The split by time: train, then validation, then test, with an embargo between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from fintunnel_training.dataset.duplicates import cluster_texts, normalised
from fintunnel_training.dataset.labels import LabelledEvent
from fintunnel_training.dataset.market import WINDOW_MIN
from fintunnel_training.dataset.sources.records import BEIJING, from_minute
from fintunnel_training.errors import OptionError
from fintunnel_training.instructions import SPLITS

__all__ = ["drop_repeated", "embargo_min", "split_by_time"]

_EVALUATION_SHARE = 0.15
# At least 300 after the embargo, for validation and for test, where that leaves most events to training.
_EVALUATION_ROWS = 320


def embargo_min(horizon_min: int) -> int:
    """Neither a reaction nor a context window reaches from one split into the next."""
    return WINDOW_MIN + horizon_min


def drop_repeated(events: Sequence[LabelledEvent], dropped: Counter[str]) -> list[LabelledEvent]:
    """Without those that repeat an earlier one word for word and figure for figure."""
    seen: set[str] = set()
    kept = []
    for item in events:
        key = normalised(item.event.text) + (item.event.figures.model_dump_json() if item.event.figures else "")
        if key in seen:
            dropped["same text as an earlier event"] += 1
        else:
            seen.add(key)
            kept.append(item)
    return kept


def _said(item: LabelledEvent) -> str:
    """The text with its figures, if it came with any: two releases of one indicator differ in them alone."""
    figures = item.event.figures
    return (
        item.event.text
        if figures is None
        else f"{item.event.text} {figures.actual} {figures.consensus} {figures.previous}"
    )


def split_by_time(
    events: Sequence[LabelledEvent], horizon_min: int, dropped: Counter[str], test_from: datetime | None = None
) -> dict[str, list[LabelledEvent]]:
    """Cut `events`, in order of time, into 70 / 15 / 15 %; of fewer than about 2,100, up to a fifth each is held out.
    `test_from`: the test split begins with this day (Beijing time) instead, and validation stays as long as it was.

    What lies within the embargo after the split before is dropped, and so is a flash that nearly repeats one of an
    earlier split. Calendar entries of one indicator resemble each other every month by their names; what they say is
    in their figures, so only flashes are compared.

    Raises:
        OptionError: `test_from` leaves nothing before or after it.
    """
    count = len(events)
    held_out = max(round(count * _EVALUATION_SHARE), min(_EVALUATION_ROWS, count // 5))
    ends = (count - 2 * held_out, count - held_out, count)
    if test_from is not None:
        before = sum(from_minute(item.event.minute).astimezone(BEIJING).date() < test_from.date() for item in events)
        if not 0 < before < count:
            raise OptionError(f"--test-from {test_from.date()} 之前或之后没有事件，无法划分")
        ends = (max(0, before - held_out), before, count)
    flashes = [number for number, item in enumerate(events) if item.event.kind == "flash"]
    clusters = cluster_texts([_said(events[number]) for number in flashes])
    earliest = dict(zip(flashes, (flashes[first] for first in clusters), strict=True))
    parts: dict[str, list[LabelledEvent]] = {}
    start = 0
    for split, end in zip(SPLITS, ends, strict=True):
        opens = events[start - 1].event.minute + embargo_min(horizon_min) if start else 0
        part = []
        for number in range(start, end):
            if events[number].event.minute < opens:
                dropped["within the embargo between splits"] += 1
            elif earliest.get(number, number) < start:
                dropped["near-duplicate of a text in an earlier split"] += 1
            else:
                part.append(events[number])
        parts[split] = part
        start = end
    return parts

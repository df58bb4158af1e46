"""Records become instruction rows: labels, contexts, answers, the split by time, the mix.

A row has `instruction`, `input`, `output` and `meta`; the prompt is instruction + input, `meta` is never
trained on. Rows are a function of the database and the seed alone.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from fintunnel.wire import HORIZON_MIN, Edges

from fintunnel_training.dataset.card import make_card
from fintunnel_training.dataset.database import Market
from fintunnel_training.dataset.labels import LabelledEvent, compute_edges, signal_labels
from fintunnel_training.dataset.market import WINDOW_MIN, ContextReader
from fintunnel_training.dataset.rows import Row, news_row, report_rows
from fintunnel_training.errors import DatabaseError
from fintunnel_training.instructions import SPLITS

__all__ = ["Dataset", "build_dataset"]

SHARES = {"news": 0.6, "market": 0.2, "report": 0.2}

_EVALUATION_SHARE = 0.15
_EVALUATION_ROWS = (
    320  # at least 300 after the embargo, for validation and test, where that leaves most events to training
)
# Neither a reaction nor a context window reaches from one split into the next.
_EMBARGO_MIN = WINDOW_MIN + HORIZON_MIN
_PROSE_SHARE = 1 / 3
_WITHOUT_CONTEXT_SHARE = 0.3
_MIN_TRAINING_EVENTS = 20


@dataclass(frozen=True)
class Dataset:
    """Rows per split, and the card: everything that one needs to know to judge or rebuild them."""

    rows: dict[str, list[Row]]
    card: dict[str, Any]


def build_dataset(market: Market, num_samples: int = 300, seed: int = 42) -> Dataset:
    """Build `num_samples` training rows, and validation and test rows with the natural mix of classes.

    Raises:
        DatabaseError: too few events have a reaction and enough prices before them.
    """
    dropped = Counter(market.skipped)
    labelled = _label(market, dropped)
    parts = _split(labelled, dropped)
    if sum(item.context is not None for item in parts["train"]) < _MIN_TRAINING_EVENTS:
        raise DatabaseError(
            f"可用于训练的事件太少（{len(parts['train'])} 条）：每条都要有 {HORIZON_MIN} 分钟反应，"
            f"以及之前 {WINDOW_MIN} 分钟和前 10 天内足够的价格。请换用时间更长的数据库。"
        )
    edges = compute_edges(parts["train"])
    rows = {
        "train": _training_rows(parts["train"], edges, num_samples, random.Random(f"{seed}/train")),
        **{
            split: _evaluation_rows(parts[split], edges, split, random.Random(f"{seed}/{split}"))
            for split in ("val", "test")
        },
    }
    card = make_card(market, parts, rows, edges=edges, dropped=dropped, seed=seed, embargo_min=_EMBARGO_MIN)
    return Dataset(rows, card)


# --- choosing and splitting -------------------------------------------------------------------------


def _label(market: Market, dropped: Counter[str]) -> list[LabelledEvent]:
    reader = ContextReader(market.prices, market.ticker)
    labelled = []
    seen: set[str] = set()
    for event in sorted(market.events, key=lambda event: (event.minute, event.id)):
        reaction = market.returns.get(event.id)
        if reaction is None:
            dropped["no reaction recorded"] += 1
            continue
        key = re.sub(r"\W", "", event.text) + (event.figures.model_dump_json() if event.figures else "")
        if key in seen:
            dropped["same text as an earlier event"] += 1
            continue
        typical = reader.typical_move(event.minute)
        if typical is None:
            dropped["too few price moves in the 10 days before"] += 1
            continue
        seen.add(key)
        labelled.append(LabelledEvent(event, reaction / typical, reader.context(event.minute, typical)))
    return labelled


def _split(labelled: Sequence[LabelledEvent], dropped: Counter[str]) -> dict[str, list[LabelledEvent]]:
    count = len(labelled)
    held_out = max(round(count * _EVALUATION_SHARE), min(_EVALUATION_ROWS, count // 5))
    ends = (count - 2 * held_out, count - held_out, count)
    parts: dict[str, list[LabelledEvent]] = {}
    start = 0
    for split, end in zip(SPLITS, ends, strict=True):
        part = list(labelled[start:end])
        if start > 0 and part:
            open_from = labelled[start - 1].event.minute + _EMBARGO_MIN
            kept = [item for item in part if item.event.minute >= open_from]
            dropped["within the embargo between splits"] += len(part) - len(kept)
            part = kept
        parts[split] = part
        start = end
    return parts


# --- training rows ----------------------------------------------------------------------------------


def _training_rows(events: Sequence[LabelledEvent], edges: Edges, num_samples: int, rng: random.Random) -> list[Row]:
    reports = round(num_samples * SHARES["report"])
    market = round(num_samples * SHARES["market"])
    news = num_samples - reports - market
    # A market question without the market before it asks nothing, so the rows that learn to do without
    # context are all news rows: 30 % of the two kinds together.
    without_context = _flags(news, round((news + market) * _WITHOUT_CONTEXT_SHARE), rng)
    prose = _flags(news, round(news * _PROSE_SHARE), rng)
    rows = [
        news_row(item, edges, "train", rng, "news_prose" if in_prose else "json", with_context=not without)
        for item, in_prose, without in zip(_draw(events, news, rng), prose, without_context, strict=True)
    ]
    prose = _flags(market, round(market * _PROSE_SHARE), rng)
    rows += [
        news_row(item, edges, "train", rng, "market_prose" if in_prose else "json", kind="market")
        for item, in_prose in zip(_draw_by_signal(events, edges, market, rng), prose, strict=True)
    ]
    rows += report_rows(reports, "train", rng)
    rng.shuffle(rows)
    return rows


def _flags(count: int, true: int, rng: random.Random) -> list[bool]:
    flags = [True] * true + [False] * (count - true)
    rng.shuffle(flags)
    return flags


def _draw(events: Sequence[LabelledEvent], count: int, rng: random.Random) -> list[LabelledEvent]:
    """`count` events in random order; each once before any twice, where there are fewer events than rows."""

    def passes() -> Iterator[LabelledEvent]:
        while True:
            yield from rng.sample(events, len(events))

    return list(islice(passes(), count))


def _draw_by_signal(
    events: Sequence[LabelledEvent], edges: Edges, count: int, rng: random.Random
) -> list[LabelledEvent]:
    """Events with context, in turn one that was priced in, one that waited, one that did neither."""
    groups: dict[str, list[LabelledEvent]] = {}
    for item in events:
        signals = signal_labels(item.event, item.context, edges)
        if signals is not None:
            name = "priced_in" if signals.priced_in else "wait_and_see" if signals.wait_and_see else "neither"
            groups.setdefault(name, []).append(item)
    turns = [iter(_draw(groups[name], count, rng)) for name in sorted(groups)]
    return [next(turn) for turn in islice(cycle(turns), count)]


# --- validation and test rows -----------------------------------------------------------------------


def _evaluation_rows(events: Sequence[LabelledEvent], edges: Edges, split: str, rng: random.Random) -> list[Row]:
    without_context = _flags(len(events), round(len(events) * _WITHOUT_CONTEXT_SHARE), rng)
    rows = [
        news_row(item, edges, split, rng, with_context=not without)
        for item, without in zip(events, without_context, strict=True)
    ]
    report_share = SHARES["report"] / (1 - SHARES["report"])
    return rows + report_rows(round(len(events) * report_share), split, rng)

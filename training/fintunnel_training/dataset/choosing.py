"""Which training rows to make: the mix of kinds, the balance of classes, prose or JSON, with or without context."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import cycle, islice

from fintunnel.prompt import Style
from fintunnel.wire import Edges

from fintunnel_training.dataset.labels import LabelledEvent, direction_label, impact_label, signal_labels
from fintunnel_training.dataset.options import Balance
from fintunnel_training.dataset.rows import Choice

__all__ = ["choose_evaluation", "choose_training"]

_PROSE_SHARE = 1 / 3
_WITHOUT_CONTEXT_SHARE = 0.3


def choose_training(
    events: Sequence[LabelledEvent], edges: Edges, news: int, market: int, balance: Balance, rng: random.Random
) -> list[Choice]:
    """`news` + `market` rows. News rows go round the classes of `balance`, market rows round the signals; each
    event of a class is used once before any is used twice."""
    # A market question without the market before it asks nothing, so the rows that learn to do without context
    # are all news rows: 30 % of the two kinds together, as far as there are news rows.
    without = _flags(news, min(news, round((news + market) * _WITHOUT_CONTEXT_SHARE)), rng)
    prose = _flags(news, round(news * _PROSE_SHARE), rng)
    drawn = _draw(events, news, rng, _class_of(edges, balance))
    choices = [
        Choice(item, "news", "news_prose" if in_prose else "json", with_context=not blind, use=use)
        for (item, use), in_prose, blind in zip(drawn, prose, without, strict=True)
    ]
    prose = _flags(market, round(market * _PROSE_SHARE), rng)
    with_context = [item for item in events if item.context is not None]
    styles: list[Style] = ["market_prose" if in_prose else "json" for in_prose in prose]
    choices += [
        Choice(item, "market", style, use=use)
        for (item, use), style in zip(_draw(with_context, market, rng, _signal_of(edges)), styles, strict=True)
    ]
    return choices


def choose_evaluation(events: Sequence[LabelledEvent], rng: random.Random) -> list[Choice]:
    """Every event once, in its natural class, 30 % of them without context."""
    without = _flags(len(events), round(len(events) * _WITHOUT_CONTEXT_SHARE), rng)
    return [Choice(item, "news", with_context=not blind) for item, blind in zip(events, without, strict=True)]


def _class_of(edges: Edges, balance: Balance) -> Callable[[LabelledEvent], Hashable]:
    def name(item: LabelledEvent) -> Hashable:
        impact = impact_label(item.reaction, edges) if balance in ("impact", "both") else None
        direction = direction_label(item.reaction, edges) if balance in ("direction", "both") else None
        return impact, direction

    return name


def _signal_of(edges: Edges) -> Callable[[LabelledEvent], Hashable]:
    def name(item: LabelledEvent) -> Hashable:
        signals = signal_labels(item.event, item.context, edges)
        if signals is None or not (signals.priced_in or signals.wait_and_see):
            return "neither"
        return "priced_in" if signals.priced_in else "wait_and_see"

    return name


def _draw(
    events: Sequence[LabelledEvent], count: int, rng: random.Random, class_of: Callable[[LabelledEvent], Hashable]
) -> list[tuple[LabelledEvent, int]]:
    """`count` events, the classes in turn, each with the number of its earlier uses."""
    groups: dict[Hashable, list[LabelledEvent]] = {}
    for item in events:
        groups.setdefault(class_of(item), []).append(item)

    def passes(group: list[LabelledEvent]) -> Iterator[tuple[LabelledEvent, int]]:
        use = 0
        while True:
            yield from ((item, use) for item in rng.sample(group, len(group)))
            use += 1

    turns = [passes(groups[name]) for name in sorted(groups, key=str)]
    return [next(turn) for turn in islice(cycle(turns), count)]


def _flags(count: int, true: int, rng: random.Random) -> list[bool]:
    flags = [True] * true + [False] * (count - true)
    rng.shuffle(flags)
    return flags

"""Which training rows to make: the mix of kinds, the balance of classes, prose or JSON, with or without context."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

from fintunnel.prompt import Style
from fintunnel.wire import Edges

from fintunnel_training.dataset.labels import LabelledEvent, direction_label, impact_label, signal_labels
from fintunnel_training.dataset.rows import Choice
from fintunnel_training.errors import OptionError

__all__ = ["Balance", "Mix", "choose_evaluation", "choose_training", "parse_mix"]

Balance = Literal["none", "impact", "direction", "both"]

_PROSE_SHARE = 1 / 3
_WITHOUT_CONTEXT_SHARE = 0.3


@dataclass(frozen=True)
class Mix:
    """Shares of news, market and report rows; they add up to 1."""

    news: float = 0.6
    market: float = 0.2
    report: float = 0.2

    def counts(self, total: int | None, events: int) -> tuple[int, int, int]:
        """Rows of each kind: `total` altogether, or, where that is None, a news row for each of `events`."""
        if total is None:
            return events, round(events * self.market / self.news), round(events * self.report / self.news)
        report, market = round(total * self.report), round(total * self.market)
        return total - report - market, market, report

    def report_rows_beside(self, events: int) -> int:
        """Report rows in an evaluation split of `events` news rows, which stand for news and market together."""
        return round(events * self.report / (1 - self.report))


def parse_mix(text: str) -> Mix:
    """`60/20/20` → the shares of news, market and report rows.

    Raises:
        OptionError: not three shares, or no news at all.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) != 3 or not all(0 <= share < 1e9 for share in shares) or shares[0] <= 0:
        raise OptionError(f"--mix 应是三个比例“新闻/市场分析/财报问答”，新闻大于 0，例如 60/20/20，不是 {text!r}")
    total = sum(shares)
    return Mix(*(share / total for share in shares))


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

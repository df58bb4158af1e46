"""Surprises of releases against what gold did: the one look at whether a figure above consensus moves anything."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from fintunnel.wire import Figures
from pydantic import ValidationError

from fintunnel_training.dataset.economics import surprise_polarity
from fintunnel_training.dataset.looking.looked import Looked, Row, event_key, request_of

__all__ = ["Surprise", "correlation", "correlation_interval", "has_reactions", "surprises"]

# What tells two releases of one indicator apart.
_PERIOD = re.compile(r"\d{4}年|\d{1,2}月|第[一二三四]季度|至\d{1,2}日(当周)?")


@dataclass(frozen=True, slots=True)
class Surprise:
    """`towards_gold`: how far a release surprised towards a higher gold price, in usual changes of its indicator.
    `reaction`: gold's return after it, in typical moves."""

    split: str
    towards_gold: float
    reaction: float


@dataclass(frozen=True, slots=True)
class _Release:
    split: str
    indicator: str
    surprise: float
    polarity: int
    changes: tuple[float, ...]
    reaction: float


def surprises(looked: Looked) -> list[Surprise]:
    """Releases with a consensus, a previous figure, a reaction, and an indicator whose surprises point one way for
    gold; each event once.

    The unit of a surprise is the indicator's usual change: the root mean square of actual - previous and
    consensus - previous over its releases in these files. The standard deviation of its surprises, usual in
    studies of many years, needs more releases of one indicator than a few months have.
    """
    releases = {key: release for key, release in _releases(looked)}
    changes: dict[str, list[float]] = {}
    for release in releases.values():
        changes.setdefault(release.indicator, []).extend(release.changes)
    usual = {indicator: float(np.sqrt(np.mean(np.square(steps)))) for indicator, steps in changes.items()}
    return [
        Surprise(release.split, release.polarity * release.surprise / usual[release.indicator], release.reaction)
        for release in releases.values()
        if release.polarity and usual[release.indicator] > 0
    ]


def has_reactions(looked: Looked) -> bool:
    return any(_reaction(row) is not None for row in looked.all_rows())


def _releases(looked: Looked) -> Iterator[tuple[str, _Release]]:
    for split, rows in looked.rows.items():
        for row in rows:
            key, reaction, figures = event_key(row), _reaction(row), _figures(row)
            if key is None or reaction is None or figures is None:
                continue
            actual, consensus, previous = figures.actual, figures.consensus, figures.previous
            if actual is None or consensus is None or previous is None:
                continue
            yield (
                key,
                _Release(
                    split,
                    _PERIOD.sub("", figures.indicator or ""),
                    actual - consensus,
                    surprise_polarity(figures),
                    (actual - previous, consensus - previous),
                    reaction,
                ),
            )


def _figures(row: Row) -> Figures | None:
    try:
        return Figures.model_validate(request_of(row).get("figures"))
    except ValidationError:
        return None


def _reaction(row: Row) -> float | None:
    reaction = row["meta"].get("reaction")
    moves = reaction.get("typical_moves") if isinstance(reaction, dict) else None
    return float(moves) if isinstance(moves, int | float) and math.isfinite(moves) else None


def correlation(points: Sequence[Surprise]) -> float | None:
    """Pearson's r; None for fewer than three points or where one side never varies."""
    x, y = [point.towards_gold for point in points], [point.reaction for point in points]
    if len(points) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def correlation_interval(r: float, n: int) -> tuple[float, float] | None:
    """The 95 % interval of r by Fisher's z. Too narrow where several figures come out in one minute and share one
    reaction; None for fewer than five points."""
    if n < 5 or abs(r) >= 1:
        return None
    half = 1.96 / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)

"""What the classes mean: edges from the training events, and the labels that follow from them.

With r = the return over the horizon (15 minutes) after publication and m = the typical move before it: `impact` is
|r| / m cut at the training 50 % and 80 % quantiles, `direction` is r / m cut at the terciles. The two signals come
from what was known before publication alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fintunnel.wire import HORIZON_MIN, Context, Direction, Edges, Impact, Signals

from fintunnel_training.dataset.economics import expected_direction
from fintunnel_training.dataset.sources.figures import release_figures
from fintunnel_training.dataset.sources.records import Event

__all__ = ["LabelledEvent", "compute_edges", "direction_label", "impact_label", "signal_labels"]


@dataclass(frozen=True, slots=True)
class LabelledEvent:
    """An event with its return over the horizon (a fraction), that return in units of the typical move before it
    (r / m), and, where prices allow, its context."""

    event: Event
    ret: float
    reaction: float
    context: Context | None


def compute_edges(training: Sequence[LabelledEvent], horizon_min: int = HORIZON_MIN) -> Edges:
    reactions = np.array([item.reaction for item in training])
    contexts = [item.context for item in training if item.context is not None]
    pre_returns = np.abs([context.pre_return for context in contexts])
    volatilities = np.array([context.volatility for context in contexts])

    def quantile(values: np.ndarray[tuple[int], np.dtype[np.float64]], q: float) -> float:
        return float(np.quantile(values, q)) if len(values) else float("inf")

    return Edges(
        impact=(quantile(np.abs(reactions), 0.5), quantile(np.abs(reactions), 0.8)),
        direction=(quantile(reactions, 1 / 3), quantile(reactions, 2 / 3)),
        priced_in_pre_return=quantile(pre_returns, 0.8),
        wait_and_see_volatility=quantile(volatilities, 0.7),
        wait_and_see_pre_return=quantile(pre_returns, 0.3),
        horizon_min=horizon_min,
    )


def impact_label(reaction: float, edges: Edges) -> Impact:
    size = abs(reaction)
    return "low" if size <= edges.impact[0] else "medium" if size <= edges.impact[1] else "high"


def direction_label(reaction: float, edges: Edges) -> Direction:
    if reaction < edges.direction[0]:
        return "bearish"
    return "bullish" if reaction > edges.direction[1] else "neutral"


def signal_labels(event: Event, context: Context | None, edges: Edges) -> Signals | None:
    """None without context. `priced_in` (预期兑现): a large move before, in the direction that the release
    points, or before a release in line. `wait_and_see` (观望): wide swings that led nowhere."""
    if context is None:
        return None
    moved = abs(context.pre_return)
    expected = expected_direction(release_figures(event))
    priced_in = moved >= edges.priced_in_pre_return and (
        expected == "in_line" or (expected is not None and (context.pre_return > 0) == (expected == "up"))
    )
    wait_and_see = context.volatility >= edges.wait_and_see_volatility and moved <= edges.wait_and_see_pre_return
    return Signals(priced_in=priced_in, wait_and_see=wait_and_see)

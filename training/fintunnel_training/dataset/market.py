"""What the market had done before an event: the context of DESIGN's contract, free of look-ahead.

Every number uses bars with a timestamp strictly before the event's minute, because the bar of that minute
already holds up to 59 seconds of reaction. Works on databases with every minute and on sparse ones.
"""

from __future__ import annotations

import numpy as np
from fintunnel.wire import HORIZON_MIN, Context

from fintunnel_training.dataset.database import Prices

__all__ = ["WINDOW_MIN", "ContextReader"]

WINDOW_MIN = 120
_TYPICAL_DAYS = 10
_MIN_MOVES = 30  # fewer finished moves than this give no usable median
# A window counts as covered when its first and its last bar lie this close to its ends.
_TOLERANCE_MIN = 45


class ContextReader:
    """Computes contexts from one ticker's prices.

    `typical_move` at a minute is the median of |close(t + 15) / close(t) - 1| over all moves that had
    finished before that minute and began within the 10 days before it.
    """

    def __init__(self, prices: Prices, ticker: str) -> None:
        self._prices = prices
        self._ticker = ticker
        ends = np.searchsorted(prices.minute, prices.minute + HORIZON_MIN)
        inside = ends < len(prices.minute)
        starts = np.flatnonzero(inside)
        ends = ends[inside]
        exact = prices.minute[ends] == prices.minute[starts] + HORIZON_MIN
        starts, ends = starts[exact], ends[exact]
        self._move_start = prices.minute[starts]
        self._move = np.abs(prices.close[ends] / prices.close[starts] - 1.0)

    def typical_move(self, minute: int) -> float | None:
        # Starts are sorted and every move lasts as long, so finished moves are a prefix: start + 15 < minute.
        first = np.searchsorted(self._move_start, minute - _TYPICAL_DAYS * 24 * 60)
        last = np.searchsorted(self._move_start, minute - HORIZON_MIN)
        if last - first < _MIN_MOVES:
            return None
        median = float(np.median(self._move[first:last]))
        return median if median > 0 else None

    def context(self, minute: int, typical_move: float) -> Context | None:
        """The context of an event at `minute`, or None where prices do not cover the window."""
        start = minute - WINDOW_MIN
        first = int(np.searchsorted(self._prices.minute, start))
        last = int(np.searchsorted(self._prices.minute, minute)) - 1  # strictly before the event's minute
        if last <= first:
            return None
        minutes = self._prices.minute
        if minutes[first] - start > _TOLERANCE_MIN or minute - minutes[last] > _TOLERANCE_MIN:
            return None
        window = slice(first, last + 1)
        opened = float(self._prices.open[first])
        high = float(self._prices.high[window].max())
        low = float(self._prices.low[window].min())
        return Context(
            ticker=self._ticker,
            window_min=WINDOW_MIN,
            pre_return=float(self._prices.close[last]) / opened - 1.0,
            volatility=(high - low) / opened,
            typical_move=typical_move,
        )

"""What the market did before and after an event, by asof joins over minute bars, dense or sparse.

Everything "before" uses bars with a timestamp strictly before the event's minute, because the bar of that minute
already holds up to 59 seconds of reaction. Functions take `minutes`, the events' minutes in ascending order, and give
one row each.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["WINDOW_MIN", "pre_windows", "returns_after", "typical_moves"]

WINDOW_MIN = 120
_TYPICAL_DAYS = 10
_MIN_MOVES = 30  # fewer finished moves than this give no usable median
# A window counts as covered when its first and its last bar lie this close to its ends.
_WINDOW_TOLERANCE_MIN = 45
# Prices at the event and after the horizon: the last bar known then, no older than this.
_RETURN_TOLERANCE_MIN = 2

Floats = NDArray[np.float64]


def typical_moves(prices: pl.DataFrame, minutes: NDArray[np.int64], horizon_min: int) -> Floats:
    """The median of |close(t + horizon) / close(t) - 1| over all moves that had finished strictly before each minute
    and began within the 10 days before it; NaN where fewer than 30 had, or nothing moved."""
    closes = prices.select("minute", "close")
    later = closes.select(pl.col("minute") - horizon_min, future="close")
    moves = closes.join(later, on="minute").select(
        finished=pl.col("minute") + horizon_min, move=(pl.col("future") / pl.col("close") - 1).abs()
    )
    asked = pl.DataFrame({"finished": minutes, "move": pl.Series([None] * len(minutes), dtype=pl.Float64)})
    at = pl.concat([moves.with_columns(asked=False), asked.with_columns(asked=True)]).sort(
        "finished", maintain_order=True
    )
    # Finished in [minute - (10 days - horizon), minute): begun within the 10 days.
    window = f"{_TYPICAL_DAYS * 24 * 60 - horizon_min}i"
    medians = at.with_columns(
        median=pl.col("move").rolling_median_by("finished", window, min_samples=_MIN_MOVES, closed="left")
    ).filter("asked")["median"]
    values = medians.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.where(values > 0, values, np.nan)


def pre_windows(prices: pl.DataFrame, minutes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return over the 120 minutes before each minute, and (high - low) / open over them, as fractions; NaN where the
    bars do not cover the window."""
    bars = prices.select("minute", "open", "close", bar=pl.int_range(pl.len())).with_columns(at=pl.col("minute"))
    asked = pl.DataFrame({"minute": minutes}).with_columns(start=pl.col("minute") - WINDOW_MIN)
    firsts = asked.join_asof(bars, left_on="start", right_on="at", strategy="forward", suffix="_bar")
    lasts = asked.join_asof(bars, left_on="minute", right_on="at", allow_exact_matches=False, suffix="_bar")
    covered = (
        (firsts["minute_bar"] - firsts["start"] <= _WINDOW_TOLERANCE_MIN)
        & (asked["minute"] - lasts["minute_bar"] <= _WINDOW_TOLERANCE_MIN)
        & (firsts["bar"] < lasts["bar"])
    ).fill_null(False)
    where = covered.to_numpy()
    pre_return, volatility = np.full(len(minutes), np.nan), np.full(len(minutes), np.nan)
    if not where.any():
        return pre_return, volatility
    first, last = firsts["bar"].filter(covered).to_numpy(), lasts["bar"].filter(covered).to_numpy()
    opened = firsts["open"].filter(covered).to_numpy()
    high, low = (
        _extremes(prices["high"].to_numpy(), first, last, np.maximum),
        _extremes(prices["low"].to_numpy(), first, last, np.minimum),
    )
    pre_return[where] = lasts["close"].filter(covered).to_numpy() / opened - 1.0
    volatility[where] = (high - low) / opened
    return pre_return, volatility


def returns_after(prices: pl.DataFrame, minutes: NDArray[np.int64], horizon_min: int) -> Floats:
    """close(minute + horizon) / close(minute) - 1, as fractions; NaN where either price is not there."""
    closes = prices.select("minute", "close")
    tolerance = min(_RETURN_TOLERANCE_MIN, horizon_min - 1)  # never the same bar before and after

    def last_known(at: NDArray[np.int64]) -> pl.Series:
        asked = pl.DataFrame({"minute": at})
        return asked.join_asof(closes, on="minute", tolerance=tolerance)["close"]

    before, after = last_known(minutes), last_known(minutes + horizon_min)
    return (after / before - 1).cast(pl.Float64).fill_null(np.nan).to_numpy()


def _extremes(values: Floats, first: NDArray[np.int64], last: NDArray[np.int64], ufunc: np.ufunc) -> Floats:
    """`ufunc` reduced over values[first..last], ends included, for each pair."""
    pairs = np.column_stack([first, last + 1]).ravel()
    padded = np.append(values, values[-1])  # reduceat needs every index inside
    reduced: Floats = ufunc.reduceat(padded, pairs)[::2]
    return reduced

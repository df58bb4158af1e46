from __future__ import annotations

import numpy as np
import pytest
from fintunnel_training.dataset.database import Prices
from fintunnel_training.dataset.market import WINDOW_MIN, ContextReader


def prices(close: list[float], minutes: list[int] | None = None) -> Prices:
    at = np.array(minutes if minutes is not None else range(len(close)), dtype=np.int64)
    value = np.array(close, dtype=np.float64)
    return Prices(at, value, value + 1, value - 1, value)


def test_context_ends_strictly_before_the_events_minute() -> None:
    walk = [100.0 + i % 7 for i in range(400)]
    reader = ContextReader(prices(walk), "XAUUSD")
    changed = walk[:300] + [9999.0] * 100  # the event's minute and all after it
    other = ContextReader(prices(changed), "XAUUSD")
    assert reader.context(300, 0.001) == other.context(300, 0.001)
    assert reader.typical_move(300) == other.typical_move(300)
    earlier = walk[:299] + [150.0] + walk[300:]  # the last bar before it does count
    assert ContextReader(prices(earlier), "XAUUSD").context(300, 0.001) != reader.context(300, 0.001)


def test_context_figures() -> None:
    close = [100.0] * 200
    close[120], close[199] = 110.0, 102.0  # minute 80 opens the window of an event at 200
    context = ContextReader(prices(close), "XAUUSD").context(200, 0.002)
    assert context is not None
    assert context.pre_return == pytest.approx(0.02)
    assert context.volatility == pytest.approx((111 - 99) / 100)  # highs and lows stand 1 off the close
    assert (context.window_min, context.typical_move) == (WINDOW_MIN, 0.002)


@pytest.mark.parametrize("gap", [range(80, 130), range(150, 200), range(80, 200)])
def test_no_context_where_prices_do_not_cover_the_window(gap: range) -> None:
    minutes = [minute for minute in range(300) if minute not in gap]
    assert ContextReader(prices([100.0] * len(minutes), minutes), "X").context(200, 0.002) is None


def test_sparse_marks_are_enough() -> None:
    assert ContextReader(prices([100.0, 101.0, 102.0], [80, 140, 170]), "X").context(200, 0.002) is not None


def test_typical_move_is_the_median_of_finished_moves() -> None:
    close = [100.0] * 200
    for minute in range(15, 200, 2):
        close[minute] = 101.0
    reader = ContextReader(prices(close), "X")
    finished = [abs(close[t + 15] / close[t] - 1) for t in range(100) if t + 15 < 100]
    assert reader.typical_move(100) == pytest.approx(float(np.median(finished)))
    assert reader.typical_move(20) is None  # too few moves had finished


def test_typical_move_forgets_after_ten_days() -> None:
    day = 24 * 60
    minutes = [*range(200), *range(11 * day, 11 * day + 200)]
    close = [100.0 + 5 * (m % 2) for m in range(200)] + [100.0 + 0.1 * (m % 2) for m in range(200)]
    move = ContextReader(prices(close, minutes), "X").typical_move(11 * day + 200)
    assert move is not None and move < 0.002

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from fintunnel_training.dataset.market import WINDOW_MIN, pre_windows, returns_after, typical_moves


def prices(close: list[float], minutes: list[int] | None = None) -> pl.DataFrame:
    value = np.array(close, dtype=np.float64)
    at = np.array(minutes if minutes is not None else range(len(close)), dtype=np.int64)
    return pl.DataFrame({"minute": at, "open": value, "high": value + 1, "low": value - 1, "close": value})


def at(*minutes: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(minutes, dtype=np.int64)


def context(bars: pl.DataFrame, minute: int) -> tuple[float, float]:
    pre_return, volatility = pre_windows(bars, at(minute))
    return float(pre_return[0]), float(volatility[0])


def test_context_ends_strictly_before_the_events_minute() -> None:
    walk = [100.0 + i % 7 for i in range(400)]
    before = prices(walk)
    changed = prices(walk[:300] + [9999.0] * 100)  # the event's minute and all after it
    assert context(before, 300) == context(changed, 300)
    assert typical_moves(before, at(300), 15) == typical_moves(changed, at(300), 15)
    earlier = prices([*walk[:299], 150.0, *walk[300:]])  # the last bar before it does count
    assert context(earlier, 300) != context(before, 300)


def test_context_figures() -> None:
    close = [100.0] * 200
    close[120], close[199] = 110.0, 102.0  # minute 80 opens the window of an event at 200
    pre_return, volatility = context(prices(close), 200)
    assert pre_return == pytest.approx(0.02)
    assert volatility == pytest.approx((111 - 99) / 100)  # highs and lows stand 1 off the close
    assert WINDOW_MIN == 120


@pytest.mark.parametrize("gap", [range(80, 130), range(150, 200), range(80, 200)])
def test_no_context_where_prices_do_not_cover_the_window(gap: range) -> None:
    minutes = [minute for minute in range(300) if minute not in gap]
    assert np.isnan(context(prices([100.0] * len(minutes), minutes), 200)).all()


def test_sparse_marks_are_enough() -> None:
    assert not np.isnan(context(prices([100.0, 101.0, 102.0], [80, 140, 170]), 200)).any()


def test_typical_move_forgets_after_ten_days() -> None:
    day = 24 * 60
    minutes = [*range(200), *range(11 * day, 11 * day + 200)]
    close = [100.0 + 5 * (m % 2) for m in range(200)] + [100.0 + 0.1 * (m % 2) for m in range(200)]
    move = typical_moves(prices(close, minutes), at(11 * day + 200), 15)
    assert 0 < move[0] < 0.002


def test_a_market_that_does_not_move_has_no_typical_move() -> None:
    assert np.isnan(typical_moves(prices([100.0] * 300), at(200), 15)[0])


def test_returns_take_the_last_price_known_within_two_minutes() -> None:
    bars = prices([100.0, 101.0, 105.0], [100, 113, 140])
    assert returns_after(bars, at(100, 102, 103), 15)[:2] == pytest.approx([0.01, np.nan], nan_ok=True)
    assert np.isnan(returns_after(bars, at(103), 15)[0])  # no price within two minutes of the event
    assert np.isnan(returns_after(bars, at(140), 15)[0])  # nothing after it
    assert returns_after(bars, at(100), 40)[0] == pytest.approx(0.05)


@pytest.mark.parametrize("density", [1.0, 0.3, 0.02])
@pytest.mark.parametrize("horizon", [5, 15, 30])
def test_windows_equal_the_definition_on_dense_and_sparse_prices(density: float, horizon: int) -> None:
    """Against the definitions written out as loops over all bars, for events on, between and outside of bars."""
    rng = random.Random(density)
    span = 16 * 24 * 60 if density < 0.1 else 5000
    minutes = [m for m in range(span) if rng.random() < density and not span // 3 < m < span // 2]
    bars = prices([100 * (1 + rng.gauss(0, 0.002)) for _ in minutes], minutes)
    asked = sorted(rng.randrange(-10, span + 100) for _ in range(120))
    moves = typical_moves(bars, at(*asked), horizon)
    pre_return, volatility = pre_windows(bars, at(*asked))
    returns = returns_after(bars, at(*asked), horizon)
    close = dict(zip(minutes, bars["close"].to_list(), strict=True))
    seen = 0
    for i, minute in enumerate(asked):
        finished = [
            abs(close[m + horizon] / close[m] - 1)
            for m in minutes
            if m + horizon in close and minute - 14400 <= m and m + horizon < minute
        ]
        expected = float(np.median(finished)) if len(finished) >= 30 else np.nan
        assert moves[i] == pytest.approx(expected, nan_ok=True)

        window = [m for m in minutes if minute - 120 <= m < minute]
        if len(window) < 2 or window[0] > minute - 120 + 45 or window[-1] < minute - 45:
            assert np.isnan(pre_return[i]) and np.isnan(volatility[i])
        else:
            seen += 1
            inside = [close[m] for m in window]
            assert pre_return[i] == pytest.approx(inside[-1] / inside[0] - 1)
            assert volatility[i] == pytest.approx((max(inside) - min(inside) + 2) / inside[0])

        def known(when: int) -> float:
            return next((close[m] for m in range(when, when - 3, -1) if m in close), np.nan)

        assert returns[i] == pytest.approx(known(minute + horizon) / known(minute) - 1, nan_ok=True)
    assert seen > 0

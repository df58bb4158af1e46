"""Makes a finance database of any size in the user's schema, for benchmarks: prices as a random walk over
trading weeks, flashes of a Zipf-distributed invented vocabulary, calendar entries with figures."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from fintunnel_training.dataset.sources.sample_database import SCHEMA

__all__ = ["EVENTS", "PRICES", "make_database"]

# The user's full database.
EVENTS = 26_182
PRICES = 736_304

_START = datetime(2023, 10, 2, 0, 0)
_BEIJING_AHEAD = timedelta(hours=8)
_WEEK_MINUTES = 5 * 24 * 60
_CALENDAR_SHARE = 0.13  # as in a real database of three months
_REPOSTED_SHARE = 0.04  # flashes that repeat an earlier one with a few characters changed
_NAMES = ("美国CPI年率(%)", "美国非农就业人口变动(万人)", "美国零售销售月率(%)", "欧元区制造业PMI", "中国出口年率(%)")
_BATCH = 20_000


def make_database(path: Path, *, events: int = EVENTS, prices: int = PRICES, seed: int = 0) -> None:
    """Write `events` events (with no `event_impacts`: every reaction is computed) and `prices` minute bars."""
    rng = np.random.default_rng(seed)
    # Trading minutes: Monday to Friday, so that weekends are gaps.
    index = np.arange(prices)
    minutes = index // _WEEK_MINUTES * 7 * 24 * 60 + index % _WEEK_MINUTES
    close = 2000 * np.exp(np.cumsum(rng.normal(0, 2e-4, prices)))
    spread = np.abs(rng.normal(0, 1e-4, prices)) * close
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        for first in range(0, prices, _BATCH):
            part = slice(first, first + _BATCH)
            connection.executemany(
                "INSERT INTO prices_m1 VALUES ('XAUUSD', ?, ?, ?, ?, ?, ?, 1)",
                (
                    (_text(m + 480), _text(m), c, c + s, c - s, c)
                    for m, c, s in zip(minutes[part].tolist(), close[part].tolist(), spread[part].tolist(), strict=True)
                ),
            )
        at = np.sort(rng.choice(minutes[15_000:], events))
        texts = _Texts(rng)
        connection.executemany(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, name, content, star, previous, consensus, actual)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_event(number, minute, rng, texts) for number, minute in enumerate(at.tolist())),
        )


def _text(minute: int) -> str:
    return str(_START + timedelta(minutes=minute))


def _event(number: int, minute: int, rng: np.random.Generator, texts: _Texts) -> tuple[object, ...]:
    times = (_text(minute + 480), _text(minute))
    if rng.random() >= _CALENDAR_SHARE:
        return (f"flash:{number}", "flash", *times, None, texts.next(), None, None, None, None)
    figures = [f"{value:.1f}%" for value in rng.normal(2, 1, 3)]
    name = _NAMES[number % len(_NAMES)]
    return (f"calendar:{number}", "calendar", *times, name, None, int(rng.integers(1, 6)), *figures)


class _Texts:
    """Flashes of 15 to 400 characters, most of them short, over 8,000 words used as unevenly as real ones."""

    def __init__(self, rng: np.random.Generator) -> None:
        characters = [chr(code) for code in range(0x4E00, 0x4E00 + 2500)]
        self._words = ["".join(rng.choice(characters, rng.integers(1, 4))) for _ in range(8000)]
        self._shares = 1 / np.arange(1, 8001) ** 0.8
        self._shares /= self._shares.sum()
        self._rng = rng
        self._earlier: list[str] = []

    def next(self) -> str:
        if self._earlier and self._rng.random() < _REPOSTED_SHARE:
            text = self._earlier[int(self._rng.integers(len(self._earlier)))]
            return f"快讯：{text[:-2]}。"
        words = int(np.clip(self._rng.lognormal(3.4, 0.7), 8, 200))
        text = "".join(self._words[i] for i in self._rng.choice(8000, words, p=self._shares)) + "。"
        self._earlier = [*self._earlier[-999:], text]
        return text

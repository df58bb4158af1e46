"""Small databases made for tests: every minute of a few days, with events in them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from fintunnel_training.dataset.sample_database import SCHEMA

START = datetime(2025, 8, 4, 0, 0)


def make_database(path: Path, *, days: int = 4, events: int = 150, seed: int = 1) -> Path:
    """A dense database: a random walk of minute bars, flashes and calendar entries at random minutes."""
    rng = random.Random(seed)
    minutes = days * 24 * 60
    price, bars = 3300.0, []
    for _ in range(minutes):
        opened, price = price, price * (1 + rng.gauss(0, 0.0002))
        bars.append((opened, max(opened, price) + 0.2, min(opened, price) - 0.2, price))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        for minute, bar in enumerate(bars):
            at = START + timedelta(minutes=minute)
            connection.execute(
                "INSERT INTO prices_m1 VALUES ('XAUUSD', ?, ?, ?, ?, ?, ?, NULL)",
                (str(at + timedelta(hours=8)), str(at), *bar),
            )
        for number in range(events):
            minute = rng.randrange(minutes - 20)
            add_event(connection, number, START + timedelta(minutes=minute), rng)
            event_id = f"event-{number:04}"
            ret = bars[minute + 15][3] / bars[minute][3] - 1
            connection.execute(
                "INSERT INTO event_impacts (event_id, ticker, window_min, ret) VALUES (?, 'XAUUSD', 15, ?)",
                (event_id, ret),
            )
    return path


def add_event(connection: sqlite3.Connection, number: int, at: datetime, rng: random.Random) -> None:
    event_id, local = f"event-{number:04}", str(at + timedelta(hours=8))
    if number % 3:
        connection.execute(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, content) VALUES (?, 'flash', ?, ?, ?)",
            (event_id, local, str(at), f"第{number}条消息：美联储官员谈利率前景，市场反应不一。"),
        )
    else:
        actual, consensus = rng.randint(10, 40) / 10, rng.randint(10, 40) / 10
        connection.execute(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, name, star, previous, consensus, actual)"
            " VALUES (?, 'calendar', ?, ?, ?, 3, '2.0%', ?, ?)",
            (event_id, local, str(at), f"美国第{number}期CPI年率", f"{consensus}%", f"{actual}%"),
        )

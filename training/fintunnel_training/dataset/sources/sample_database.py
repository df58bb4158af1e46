"""Builds the sample database from the text rows in `sample/`, in the schema that `database` reads."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path

from fintunnel.atomic_file import replacing_file
from fintunnel.wire import HORIZON_MIN

from fintunnel_training.errors import DatabaseError
from fintunnel_training.instructions import SQLITE_MAGIC

__all__ = ["SCHEMA", "build_sample_database"]

_BEIJING_AHEAD = timedelta(hours=8)
SCHEMA = """
CREATE TABLE prices_m1 (ticker TEXT NOT NULL, ts_local TEXT NOT NULL, ts_utc TEXT NOT NULL, open REAL, high REAL,
  low REAL, close REAL, volume REAL, PRIMARY KEY (ticker, ts_utc));
CREATE TABLE events (event_id TEXT PRIMARY KEY, source TEXT NOT NULL, ts_local TEXT NOT NULL, ts_utc TEXT NOT NULL,
  country TEXT, name TEXT, content TEXT, star REAL, previous TEXT, consensus TEXT, actual TEXT, affect TEXT,
  detail_url TEXT, important REAL, hot TEXT, indicator_name TEXT, unit TEXT);
CREATE TABLE event_impacts (event_id TEXT NOT NULL, ticker TEXT NOT NULL, window_min INTEGER NOT NULL,
  price_event REAL, price_future REAL, delta REAL, ret REAL, price_event_ts_utc TEXT, price_future_ts_utc TEXT,
  price_event_ts_local TEXT, price_future_ts_local TEXT, PRIMARY KEY (event_id, ticker, window_min));
"""
_TICKER = "XAUUSD"
_APPLICATION_ID = 0x46544E4C  # "FTNL"
_CHANGES = 5  # what SQLite's file change counter has come to when the sample is written


def build_sample_database(path: Path) -> None:
    """Write the sample database to `path`. What is there is replaced only if it is an earlier sample that nobody
    changed: people add news of their own to one.

    Raises:
        DatabaseError: another file stands there, or it cannot be written.
    """
    if path.exists() and not _is_sample(path):
        raise DatabaseError(f"{path} 已经存在，而且不是示例数据库，或者已经改动过。为免覆盖，请换一个文件名。")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as partial, closing(sqlite3.connect(partial)) as connection, connection:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.executescript(SCHEMA)
            _fill(connection)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"无法写入示例数据库 {path}：{error}") from error


def _is_sample(path: Path) -> bool:
    try:
        header = path.read_bytes()[:72]
    except OSError:
        return False
    # SQLite's file format: big-endian numbers, the file change counter at offset 24, the application id at 68.
    numbers = int.from_bytes(header[24:28]), int.from_bytes(header[68:72])
    return header.startswith(SQLITE_MAGIC) and numbers == (_CHANGES, _APPLICATION_ID)


def _fill(connection: sqlite3.Connection) -> None:
    close: dict[datetime, float] = {}
    for row in _rows("prices_m1.csv"):
        at = datetime.fromisoformat(row["ts_utc"])
        close[at] = price = float(row["close"])
        connection.execute(
            "INSERT INTO prices_m1 VALUES (?,?,?,?,?,?,?,NULL)",
            (_TICKER, str(at + _BEIJING_AHEAD), str(at), price, price, price, price),
        )
    for number, row in enumerate(_rows("calendar.csv"), 1):
        event_id = f"calendar:sample-{number:03}"
        local = datetime.fromisoformat(row["ts_local"])
        connection.execute(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, country, name, star, previous, consensus, actual)"
            " VALUES (?, 'calendar', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event_id,
                str(local),
                str(local - _BEIJING_AHEAD),
                row["country"],
                row["name"],
                float(row["star"]),
                *(row[column] or None for column in ("previous", "consensus", "actual")),
            ),
        )
        _add_impact(connection, event_id, local - _BEIJING_AHEAD, close)
    for number, row in enumerate(_rows("flashes.csv"), 1):
        event_id = f"flash:sample-{number:03}"
        local = datetime.fromisoformat(row["ts_local"])
        connection.execute(
            "INSERT INTO events (event_id, source, ts_local, ts_utc, content, important)"
            " VALUES (?, 'flash', ?, ?, ?, 1)",
            (event_id, str(local), str(local - _BEIJING_AHEAD), row["content"]),
        )
        _add_impact(connection, event_id, local - _BEIJING_AHEAD, close)


def _add_impact(connection: sqlite3.Connection, event_id: str, at: datetime, close: dict[datetime, float]) -> None:
    after = at + timedelta(minutes=HORIZON_MIN)
    if at not in close or after not in close:
        return
    before, future = close[at], close[after]
    connection.execute(
        "INSERT INTO event_impacts VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            event_id,
            _TICKER,
            HORIZON_MIN,
            before,
            future,
            future - before,
            future / before - 1.0,
            str(at),
            str(after),
            str(at + _BEIJING_AHEAD),
            str(after + _BEIJING_AHEAD),
        ),
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("fintunnel_training.dataset.sources").joinpath("sample", name).read_text(encoding="utf-8")
    return iter(csv.DictReader(text.splitlines()))

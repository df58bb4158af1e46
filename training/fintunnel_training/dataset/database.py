"""The only place with SQL: a finance database becomes typed records. Opened read-only, never written to.

Schema: `events` (flashes and calendar entries), `prices_m1` (minute bars), `event_impacts` (returns after
events). Times in the records are whole minutes since 1970-01-01 UTC.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from fintunnel.wire import HORIZON_MIN, Figures
from numpy.typing import NDArray

from fintunnel_training.errors import DatabaseError

__all__ = ["Event", "Market", "Prices", "from_minute", "read_database", "to_minute"]

_COLUMNS = {
    "events": ("event_id", "source", "ts_utc", "name", "content", "star", "previous", "consensus", "actual"),
    "prices_m1": ("ticker", "ts_utc", "open", "high", "low", "close"),
    "event_impacts": ("event_id", "ticker", "window_min", "ret"),
}
_BUSY_SECONDS = 5.0
_MAX_TICKER = 20  # what a request's context may hold
_NUMBER = re.compile(r"^([+-]?\d{1,15}(?:\.\d{1,10})?)(%?)$")
_UNIT_IN_NAME = re.compile(r"[(（]([^()（）]+)[)）]\s*$")


@dataclass(frozen=True)
class Event:
    """One flash or calendar entry as it was published."""

    id: str
    kind: Literal["flash", "calendar"]
    minute: int
    text: str
    importance: int | None
    figures: Figures | None


@dataclass(frozen=True)
class Prices:
    """Minute bars in order of time: `minute` int64, the others float64, all of one length."""

    minute: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]


@dataclass(frozen=True)
class Market:
    """What a database holds for one ticker. `returns` maps event ids to the return over the horizon;
    `skipped` counts rows that cannot be used, by reason."""

    ticker: str
    events: list[Event]
    prices: Prices
    returns: dict[str, float]
    skipped: Counter[str]


def to_minute(text: str) -> int:
    """`YYYY-MM-DD HH:MM[:SS]`, UTC unless it names an offset, floored to the minute."""
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()) // 60


def from_minute(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def read_database(path: Path, ticker: str = "XAUUSD") -> Market:
    """Read events, prices and 15-minute reactions of `ticker`.

    Raises:
        DatabaseError: no such file, not SQLite, locked, tables or columns missing, nothing to learn from.
    """
    if not 1 <= len(ticker) <= _MAX_TICKER:
        raise DatabaseError(f"行情代码应有 1 到 {_MAX_TICKER} 个字符：{ticker!r}")
    if not path.is_file():
        raise DatabaseError(f"找不到数据库文件：{path}")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        try:
            _check_schema(connection, path)
            skipped: Counter[str] = Counter()
            events = _read_events(connection, skipped)
            prices = _read_prices(connection, ticker, skipped)
            returns = _read_returns(connection, ticker)
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise DatabaseError(f"数据库被其他程序锁定：{path}。请关闭正在写入它的程序后重试。") from error
        raise DatabaseError(f"无法读取数据库 {path}：{error}") from error
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{path} 不是完好的 SQLite 数据库：{error}") from error
    _check_not_empty(path, ticker, events, prices, returns)
    return Market(ticker, events, prices, returns, skipped)


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    missing = []
    for table, wanted in _COLUMNS.items():
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not present:
            missing.append(f"表 {table}")
        else:
            missing += [f"列 {table}.{column}" for column in wanted if column not in present]
    if missing:
        raise DatabaseError(f"{path} 缺少：{'、'.join(missing)}")


def _check_not_empty(path: Path, ticker: str, events: list[Event], prices: Prices, returns: dict[str, float]) -> None:
    empty = [
        what
        for what, count in (
            ("可用的事件（events）", len(events)),
            (f"{ticker} 的价格（prices_m1）", len(prices.minute)),
            (f"{ticker} 的 {HORIZON_MIN} 分钟反应（event_impacts）", len(returns)),
        )
        if count == 0
    ]
    if empty:
        raise DatabaseError(f"{path} 里没有{'，也没有'.join(empty)}，无法生成指令集。")


def _read_events(connection: sqlite3.Connection, skipped: Counter[str]) -> list[Event]:
    events: dict[str, Event] = {}
    rows = connection.execute(
        "SELECT event_id, source, ts_utc, name, content, star, previous, consensus, actual "
        "FROM events ORDER BY ts_utc, event_id"
    )
    for event_id, source, ts_utc, name, content, star, previous, consensus, actual in rows:
        try:
            minute = to_minute(ts_utc)
        except (TypeError, ValueError):
            skipped["unreadable time"] += 1
            continue
        event_id = str(event_id)
        if event_id in events:
            skipped["duplicate id"] += 1
            continue
        if source == "calendar":
            text, figures = _calendar_entry(str(name or ""), previous, consensus, actual)
            if figures is None:
                skipped["calendar entry without an actual figure"] += 1
                continue
        else:
            text, figures = str(content or ""), None
        text = " ".join(text.split())
        if not text:
            skipped["empty text"] += 1
            continue
        kind: Literal["flash", "calendar"] = "calendar" if source == "calendar" else "flash"
        importance = int(star) if isinstance(star, (int, float)) and 1 <= star <= 5 else None
        events[event_id] = Event(event_id, kind, minute, text, importance, figures)
    return list(events.values())


def _calendar_entry(name: str, previous: object, consensus: object, actual: object) -> tuple[str, Figures | None]:
    """The indicator's name without its unit, and the figures; None where nothing was released."""
    in_name = _UNIT_IN_NAME.search(name)
    indicator = name[: in_name.start()].strip() if in_name else name.strip()
    parsed = [_figure(raw) for raw in (actual, consensus, previous)]
    if parsed[0] is None:
        return indicator, None
    percent = parsed[0][1]
    # A figure in another unit than the actual one cannot be compared with it; a bare 0 is 0 in any unit.
    values = [f[0] if f is not None and (f[1] == percent or f[0] == 0) else None for f in parsed]
    # What stands in brackets may be a remark (上限), not a unit; a percent sign settles it.
    unit = "%" if percent else in_name[1][:40] if in_name else None
    return indicator, Figures(
        actual=values[0], consensus=values[1], previous=values[2], unit=unit, indicator=indicator[:200]
    )


def _figure(raw: object) -> tuple[float, bool] | None:
    """A figure and whether it is in percent; None for what is no number (`未公布`, empty)."""
    match = _NUMBER.match(str(raw).strip().replace(",", "")) if raw is not None else None
    return (float(match[1]), match[2] == "%") if match else None


def _read_prices(connection: sqlite3.Connection, ticker: str, skipped: Counter[str]) -> Prices:
    minutes: list[int] = []
    bars: list[tuple[float, float, float, float]] = []
    rows = connection.execute(
        "SELECT ts_utc, open, high, low, close FROM prices_m1 WHERE ticker = ? ORDER BY ts_utc", (ticker,)
    )
    for ts_utc, *bar in rows:
        if not all(isinstance(price, (int, float)) and 1e-6 < price < 1e12 for price in bar) or bar[2] > bar[1]:
            skipped["price bar with an empty or non-positive price"] += 1
            continue
        try:
            minutes.append(to_minute(ts_utc))
        except (TypeError, ValueError):
            skipped["unreadable time"] += 1
            continue
        bars.append((bar[0], bar[1], bar[2], bar[3]))
    columns = np.array(bars, dtype=np.float64).reshape(-1, 4)
    minute = np.array(minutes, dtype=np.int64)
    order = np.argsort(minute, kind="stable")
    minute, columns = minute[order], columns[order]
    return Prices(minute, columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3])


def _read_returns(connection: sqlite3.Connection, ticker: str) -> dict[str, float]:
    rows = connection.execute(
        "SELECT event_id, ret FROM event_impacts WHERE ticker = ? AND window_min = ?", (ticker, HORIZON_MIN)
    )
    return {str(event_id): float(ret) for event_id, ret in rows if isinstance(ret, (int, float)) and math.isfinite(ret)}

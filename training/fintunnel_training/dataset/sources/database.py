"""The only place that reads a finance database by SQL: it becomes typed records. Opened read-only, never written to.

Tables: `events` (flashes and calendar entries), `prices_m1` (minute bars), and, where it is there,
`event_impacts` (returns after events). A SQLite file is opened by its path, anything else by a SQLAlchemy URL.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa
from fintunnel.wire import HORIZON_MIN

from fintunnel_training.dataset.sources.connection import connected, decode
from fintunnel_training.dataset.sources.figures import parse_release
from fintunnel_training.dataset.sources.records import BEIJING, PRICES_SCHEMA, Event, Market, clean_text, to_minute
from fintunnel_training.errors import DatabaseError

__all__ = ["read_database"]

_OPTIONAL = ("source", "name", "content", "star", "previous", "consensus", "actual", "unit")
_BATCH = 50_000
_MAX_TICKER = 20  # what a request's context may hold
# A recorded reaction counts when it begins and ends this close to where it should: prices that had stopped
# (weekend, holiday) were recorded as the last price known.
_TOLERANCE_MIN = 2
_IMPOSSIBLE = 1.0  # a return of 100 % within minutes is an error of the record


def read_database(
    source: Path | str, ticker: str = "XAUUSD", horizon_min: int = HORIZON_MIN, *, need_events: bool = True
) -> Market:
    """Read events, prices and recorded reactions of `ticker`.

    Args:
        source: a SQLite file, or a SQLAlchemy URL.
        horizon_min: minutes after an event whose recorded reaction is taken.
        need_events: False where the news come from another source; `events` may then be missing.

    Raises:
        DatabaseError: not there, not readable, locked, tables or columns missing, no events or prices.
    """
    if not 1 <= len(ticker) <= _MAX_TICKER:
        raise DatabaseError(f"行情代码应有 1 到 {_MAX_TICKER} 个字符：{ticker!r}")
    with connected(str(source)) as (connection, shown):
        columns = _columns(connection)
        notes = _check_schema(columns, shown, need_events=need_events)
        skipped: Counter[str] = Counter()
        events = _read_events(connection, columns["events"], skipped) if columns.get("events") else []
        prices = _read_prices(connection, columns["prices_m1"], ticker, skipped)
        minutes = {event.id: event.minute for event in events}
        impacts = columns.get("event_impacts", set())
        returns = _read_returns(connection, impacts, ticker, horizon_min, minutes, skipped)
        if not len(prices):
            tickers = [str(row[0]) for row in connection.execute(sa.text("SELECT DISTINCT ticker FROM prices_m1"))]
            there = f"有的是：{'、'.join(sorted(tickers)[:10])}" if tickers else "prices_m1 是空的"
            raise DatabaseError(f"{shown} 里没有 {ticker} 的价格（{there}），无法生成指令集。")
    if need_events and not events:
        raise DatabaseError(f"{shown} 里没有可用的事件（events），无法生成指令集。")
    return Market(ticker, events, prices, returns, skipped, horizon_min, shown, notes)


# --- schema -----------------------------------------------------------------------------------------


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    inspector = sa.inspect(connection)
    names = set(inspector.get_table_names()) | set(inspector.get_view_names())
    return {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in ("events", "prices_m1", "event_impacts")
        if table in names
    } | {"": names}


def _check_schema(columns: dict[str, set[str]], shown: str, *, need_events: bool) -> list[str]:
    """Notes on what is missing and can be done without.

    Raises:
        DatabaseError: everything that is missing and cannot.
    """
    missing = []
    needed = {"prices_m1": {"ticker", "open", "high", "low", "close"}}
    if need_events or "events" in columns:
        needed["events"] = {"event_id"}
    for table, names in needed.items():
        if table not in columns:
            missing.append(f"表 {table}")
            continue
        missing += [f"列 {table}.{name}" for name in sorted(names - columns[table])]
        if not columns[table] & {"ts_utc", "ts_local"}:
            missing.append(f"列 {table}.ts_utc（或 ts_local）")
    if "events" in columns and not columns["events"] & {"content", "name"}:
        missing.append("列 events.content（或 name）")
    if missing:
        there = "、".join(sorted(columns[""])[:12]) or "没有任何表"
        raise DatabaseError(f"{shown} 缺少：{'、'.join(missing)}。这个数据库里有：{there}。")
    notes = []
    absent = [name for name in _OPTIONAL if name not in columns.get("events", set(_OPTIONAL))]
    if absent:
        notes.append(f"events 没有这些列，按空处理：{'、'.join(absent)}")
    if not {"event_id", "ticker", "window_min", "ret"} <= columns.get("event_impacts", set()):
        notes.append("没有可用的 event_impacts，反应都由 prices_m1 计算")
    return notes


def _select(
    connection: sa.Connection, table: str, names: Sequence[str], where: dict[str, object], *, streamed: bool = True
) -> sa.CursorResult[Any]:
    statement: Any = sa.select(*(sa.column(name) for name in names)).select_from(sa.table(table))
    for name, value in where.items():
        statement = statement.where(sa.column(name) == value)
    options: dict[str, Any] = {"yield_per": _BATCH} if streamed else {}
    rows: sa.CursorResult[Any] = connection.execute(statement, execution_options=options)
    return rows


def _time_column(columns: set[str]) -> tuple[str, Any]:
    return ("ts_utc", None) if "ts_utc" in columns else ("ts_local", BEIJING)


# --- reading ----------------------------------------------------------------------------------------


def _read_events(connection: sa.Connection, columns: set[str], skipped: Counter[str]) -> list[Event]:
    time, zone = _time_column(columns)
    present = ["event_id", time, *(name for name in _OPTIONAL if name in columns)]
    events: dict[str, Event] = {}
    for values in _select(connection, "events", present, {}):
        row: dict[str, Any] = dict.fromkeys(_OPTIONAL) | {
            name: decode(value) if isinstance(value, bytes) else value
            for name, value in zip(present, values, strict=True)
        }
        try:
            minute = to_minute(row[time], *([zone] if zone else []))
        except (TypeError, ValueError):
            skipped["unreadable time"] += 1
            continue
        event_id = str(row["event_id"])
        if event_id in events:
            skipped["duplicate id"] += 1
            continue
        event = _event(event_id, minute, row)
        if isinstance(event, str):
            skipped[event] += 1
        else:
            events[event_id] = event
    return sorted(events.values(), key=lambda event: (event.minute, event.id))


def _event(event_id: str, minute: int, row: dict[str, Any]) -> Event | str:
    """The event, or the reason why there is none."""
    kind: Literal["flash", "calendar"] = (
        "calendar" if row["source"] == "calendar" or (row["source"] is None and row["name"]) else "flash"
    )
    figures = None
    text = str(row["content"] or row["name"] or "")
    if kind == "calendar":
        text, figures = parse_release(
            str(row["name"] or ""), row["previous"], row["consensus"], row["actual"], row["unit"]
        )
        if figures is None:
            return "calendar entry without an actual figure"
    text = clean_text(text)
    if not text:
        return "empty text"
    star = _number(row["star"])
    importance = int(star) if star is not None and 1 <= star <= 5 else None
    return Event(event_id, kind, minute, text, importance, figures)


def _read_prices(connection: sa.Connection, columns: set[str], ticker: str, skipped: Counter[str]) -> pl.DataFrame:
    time, zone = _time_column(columns)
    parts = [pl.DataFrame(schema=PRICES_SCHEMA)]
    columns_read = [time, "open", "high", "low", "close"]
    rows = _select(connection, "prices_m1", columns_read, {"ticker": ticker}, streamed=False)
    names = ("open", "high", "low", "close")
    # From the driver's cursor itself (so not streamed by SQLAlchemy, which would read ahead on it): a Row object for
    # each of a million bars would take longer than all the rest.
    while batch := rows.cursor.fetchmany(_BATCH):
        times, *bars = zip(*batch, strict=True)
        parts.append(pl.DataFrame([_minutes(times, zone), *map(_numbers, names, bars)]))
    prices = pl.concat(parts)
    readable = prices.filter(pl.col("minute").is_not_null())
    price = pl.all_horizontal(pl.col("open", "high", "low", "close").is_between(1e-6, 1e12, closed="none"))
    usable = readable.filter(price.fill_null(False) & (pl.col("high") >= pl.col("low")))
    unique = usable
    if not (usable["minute"].diff() > 0).all():  # in order and without repeats already: most databases
        unique = usable.unique("minute", keep="last", maintain_order=True).sort("minute")
    for reason, before, after in (
        ("unreadable time", prices, readable),
        ("price bar that is empty, not positive or has its low above its high", readable, usable),
        ("second price bar of a minute", usable, unique),
    ):
        if len(before) > len(after):
            skipped[reason] += len(before) - len(after)
    return unique


def _minutes(times: Sequence[object], zone: Any) -> pl.Series:
    """Minutes of a column of times; null where one is unreadable."""
    try:
        text = pl.Series("minute", times, pl.String, strict=True)
    except TypeError:  # datetimes, numbers, or a mixture
        return pl.Series("minute", [_minute(time, zone) for time in times], pl.Int64)
    # One format for nearly all: read at once, the rest one by one.
    minutes = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s") // 60
    minutes = minutes if zone is None else minutes - 8 * 60
    if not minutes.null_count():
        return minutes
    odd = [None if known is not None else _minute(time, zone) for time, known in zip(times, minutes, strict=True)]
    return minutes.fill_null(pl.Series("minute", odd, pl.Int64))


def _minute(time: object, zone: Any) -> int | None:
    try:
        return to_minute(time, *([zone] if zone else []))
    except (TypeError, ValueError):
        return None


def _numbers(name: str, column: Sequence[object]) -> pl.Series:
    """A column as floats; null where a value is no number."""
    try:
        return pl.Series(name, column, pl.Float64, strict=True)
    except TypeError:  # servers give Decimals, SQLite anything
        return pl.Series(name, [_number(value) for value in column], pl.Float64)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read_returns(
    connection: sa.Connection,
    columns: set[str],
    ticker: str,
    horizon_min: int,
    minutes: dict[str, int],
    skipped: Counter[str],
) -> dict[str, float]:
    if not {"event_id", "ticker", "window_min", "ret"} <= columns:
        return {}
    spans = ["price_event_ts_utc", "price_future_ts_utc"]
    names = ["event_id", "ret", *(spans if columns.issuperset(spans) else [])]
    returns = {}
    for row in _select(connection, "event_impacts", names, {"ticker": ticker, "window_min": horizon_min}):
        event_id, ret, *span = tuple(row)
        number = _number(ret)
        if number is None or abs(number) >= _IMPOSSIBLE:
            skipped["recorded reaction that is no number"] += 1
            continue
        begins, ends = (_minute(time, None) for time in span) if span else (None, None)
        at = minutes.get(str(event_id))
        if (begins is not None and at is not None and abs(begins - at) > _TOLERANCE_MIN) or (
            begins is not None and ends is not None and abs(ends - begins - horizon_min) > _TOLERANCE_MIN
        ):
            skipped["recorded reaction over another span of time"] += 1
            continue
        returns[str(event_id)] = number
    return returns

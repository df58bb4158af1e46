"""What every source of news and prices becomes: events and minute bars, times in whole minutes since 1970 UTC."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal

import polars as pl
from fintunnel.wire import Figures

__all__ = ["BEIJING", "Event", "Market", "PRICES_SCHEMA", "from_minute", "to_minute"]

BEIJING = timezone(timedelta(hours=8))
PRICES_SCHEMA = {"minute": pl.Int64, "open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64}
_MILLISECONDS = 1e11  # an epoch number above this counts milliseconds: in seconds it would be the year 5138


@dataclass(frozen=True, slots=True)
class Event:
    """One flash or calendar entry as it was published."""

    id: str
    kind: Literal["flash", "calendar"]
    minute: int
    text: str
    importance: int | None
    figures: Figures | None


@dataclass(frozen=True)
class Market:
    """What was read for one ticker.

    `prices` has the columns of `PRICES_SCHEMA`, sorted by minute, one bar a minute. `returns` maps event ids to
    the recorded return over `horizon_min` minutes after the event, a fraction. `skipped` counts rows that cannot be
    used, by reason. `source` names where this came from, without secrets.
    """

    ticker: str
    events: list[Event]
    prices: pl.DataFrame
    returns: dict[str, float]
    skipped: Counter[str]
    horizon_min: int
    source: str = ""
    notes: list[str] = field(default_factory=list)

    def with_news(self, events: Sequence[Event], skipped: Counter[str], name: str) -> Market:
        """With events of another source; where an id is there already, the first stays and the second is counted."""
        known = {event.id for event in self.events}
        added = [event for event in events if event.id not in known]
        both = sorted([*self.events, *added], key=lambda event: (event.minute, event.id))
        counted = self.skipped + skipped
        if len(added) < len(events):
            counted["duplicate id"] += len(events) - len(added)
        return replace(self, events=both, skipped=counted, notes=[*self.notes, f"另有 {len(added)} 条事件来自 {name}"])


def to_minute(value: object, zone: tzinfo = UTC) -> int:
    """The minute of a time, floored: `YYYY-MM-DD HH:MM[:SS]`, a datetime, or an epoch number in seconds or
    milliseconds. Times without an offset are in `zone`.

    Raises:
        ValueError: it is no time, or one outside the years 1970 to 2200.
    """
    if isinstance(value, bool) or value is None:
        raise ValueError("no time")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) in (10, 13):
        value = int(value)  # an epoch number in a text column
    if isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise ValueError("no time")
        seconds = value / 1000 if abs(value) > _MILLISECONDS else value
    else:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip().replace("/", "-"))
        try:
            seconds = (at if at.tzinfo is not None else at.replace(tzinfo=zone)).timestamp()
        except OverflowError as error:
            raise ValueError("no time") from error
    if not 0 <= seconds < 7_258_118_400:  # 2200-01-01
        raise ValueError("time out of range")
    return int(seconds) // 60


def from_minute(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)

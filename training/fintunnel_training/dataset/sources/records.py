"""What every source of news and prices becomes: events and minute bars, times in whole minutes since 1970 UTC."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal

import polars as pl
from fintunnel.wire import Figures

__all__ = ["BEIJING", "PRICES_SCHEMA", "Event", "Market", "clean_text", "from_minute", "to_minute"]

BEIJING = timezone(timedelta(hours=8))
PRICES_SCHEMA = {"minute": pl.Int64, "open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64}
_CHINESE_DATE = re.compile(r"^(\d{4})\s*[年/.-]\s*(\d{1,2})\s*[月/.-]\s*(\d{1,2})\s*日?[\sT]*(\d{1,2})([:：]\d{2}.*)$")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
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
    """The minute of a time, floored: `YYYY-MM-DD HH:MM[:SS]` (`2025/9/1 9:30` and `2025年9月1日 9:30` too), a datetime,
    or an epoch number in seconds or milliseconds. Times without an offset are in `zone`.

    Raises:
        ValueError: it is no time, a day without a time of day (midnight would be a guess), or one outside the years
            1970 to 2200.
    """
    if isinstance(value, bool) or value is None:
        raise ValueError("no time")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) in (10, 13):
        value = int(value)  # an epoch number in a text column
    if isinstance(value, (int, float)):
        if not abs(value) < 1e15:
            raise ValueError("no time")
        seconds = value / 1000 if abs(value) > _MILLISECONDS else value
    else:
        at = value if isinstance(value, datetime) else _parse(str(value).strip())
        try:
            seconds = (at if at.tzinfo is not None else at.replace(tzinfo=zone)).timestamp()
        except OverflowError as error:
            raise ValueError("no time") from error
    if not 0 <= seconds < 7_258_118_400:  # 2200-01-01
        raise ValueError("time out of range")
    return int(seconds) // 60


def _parse(text: str) -> datetime:
    written = _CHINESE_DATE.match(text)
    if written is not None:
        year, month, day, hour, rest = written.groups()
        text = f"{year}-{int(month):02}-{int(day):02} {int(hour):02}{rest.replace('：', ':')}"
    if ":" not in text:
        raise ValueError("a day without a time of day")
    return datetime.fromisoformat(text)


def clean_text(value: object) -> str:
    """One line, without control characters and halves of characters."""
    return " ".join(_UNPRINTABLE.sub(" ", str(value)).split())


def from_minute(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)

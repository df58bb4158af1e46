"""How long a server asks to be left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

__all__ = ["seconds_to_wait"]


def seconds_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """`retry-after-ms` or `Retry-After` (seconds or a date), in seconds; None where there is neither.

    Args:
        headers: with lower-case names, or of a mapping that does not care.
        now: POSIX seconds, for a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None

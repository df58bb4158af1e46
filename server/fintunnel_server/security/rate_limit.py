"""How many requests a key may make in a window of time. The counting is the library `limits`'."""

from __future__ import annotations

import time

from fintunnel.wire import ErrorCode
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from fintunnel_server.api_errors import ApiError

__all__ = ["RateLimit", "parse_rate"]


def parse_rate(rate: str) -> RateLimitItem | None:
    """`600/minute`, `10 per second` …; None for `off`.

    Raises:
        ValueError: neither.
    """
    if rate.strip().lower() == "off":
        return None
    try:
        item = parse(rate)
    except ValueError:
        item = None
    if item is None or item.amount < 1:
        raise ValueError("应写成 600/minute 这样，或 off")
    return item


class RateLimit:
    """Counts in this process's memory: each replica allows the whole rate."""

    def __init__(self, rate: str) -> None:
        """
        Raises:
            ValueError: `rate` is none.
        """
        self._limit = parse_rate(rate)
        # Not the library's moving window: in memory that one hands each request to a thread, with the key's lock held.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def charge(self, name: str, cost: int = 1, *, counted: int = 0) -> None:
        """A key asks for `cost` things more. `counted`: of the same request, before.

        Raises:
            ApiError: 429, with when to come again; nothing is counted then.
        """
        if self._limit is not None and cost + counted > self._limit.amount:
            message = f"一次要 {cost + counted} 次，超过了每个密钥的上限 {self._limit.amount} 次，请分成小批。"
            raise ApiError(422, ErrorCode.INVALID_REQUEST, message, "items")
        if self._limit is None or cost <= 0 or await self._limiter.hit(self._limit, name, cost=cost):
            return
        window = await self._limiter.get_window_stats(self._limit, name)
        raise ApiError(
            429,
            ErrorCode.RATE_LIMITED,
            f"这个密钥请求得太频繁，上限是每 {self._window()} {self._limit.amount} 次。",
            retry_after=max(1.0, window.reset_time - time.time()),
        )

    def _window(self) -> str:
        assert self._limit is not None
        return f"{self._limit.get_expiry()} 秒"

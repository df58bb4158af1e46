"""The orderly end: nothing new is taken, what runs may finish, and past a bound it is told to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError

__all__ = ["STOPPING", "Drain"]

STOPPING = "服务正在停止"


class Drain:
    """Counts the requests under way and knows whether the end has begun. Belongs to the event loop; `begin` may be
    called from a signal handler."""

    def __init__(self, seconds: float = 30.0) -> None:
        """`seconds`: what requests under way are given, once it has begun."""
        self._seconds = seconds
        self._began: float | None = None
        self._timeouts: set[asyncio.Timeout] = set()
        self._cut = False
        self.under_way = 0

    @property
    def has_begun(self) -> bool:
        return self._began is not None

    @property
    def seconds_over(self) -> float:
        """By how much the time that requests are given has been passed; negative before."""
        return -1.0 if self._began is None else time.monotonic() - self._began - self._seconds

    def begin(self) -> None:
        self._began = self._began or time.monotonic()

    def hurry(self) -> None:
        """What still runs is not waited for any longer."""
        self._began = time.monotonic() - self._seconds

    @contextmanager
    def request(self) -> Iterator[None]:
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    @asynccontextmanager
    async def deadline(self, began: float, seconds: float, reached: Callable[[], str]) -> AsyncIterator[None]:
        """What is inside ends so many seconds after it began, or when the server must.

        Args:
            began: in the time of `time.monotonic()`.
            reached: how far it got, in words.

        Raises:
            ApiError: 504, or 503 where the server stops.
        """
        timeout = asyncio.timeout(0.0 if self._cut else began + seconds - time.monotonic())
        try:
            async with timeout:
                self._timeouts.add(timeout)
                yield
        except TimeoutError:
            if self._cut:
                raise ApiError(503, ErrorCode.SHUTTING_DOWN, f"{STOPPING}，这个请求没有做完。{reached()}") from None
            raise ApiError(504, ErrorCode.DEADLINE_EXCEEDED, f"超过了 {seconds:g} 秒的时限。{reached()}") from None
        finally:
            self._timeouts.discard(timeout)

    def cut(self) -> None:
        """Everything inside a deadline ends now; its callers are told."""
        if not self._cut:
            self._cut = True
            for timeout in self._timeouts:
                if not timeout.expired():  # it has not ended by itself just now
                    timeout.reschedule(asyncio.get_running_loop().time())

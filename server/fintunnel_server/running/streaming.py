"""Answers that come in parts: made in one task, sent as server-sent events in another.

Before the response begins its first part is waited for, so that what goes wrong until then (a full queue, a prompt that
is too long) has a status of its own. A first part that takes longer is waited for with the line kept open; from then on
an error can only be told in the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from fintunnel_server.running.hang_up import until_gone

__all__ = ["ALIVE", "PartQueue", "stream_parts"]

ALIVE = b": alive\n\n"
_ALIVE_SECONDS = 10.0  # proxies close lines on which nothing has passed for some time

_T = TypeVar("_T")
Produce = Callable[[Callable[[_T], object]], Coroutine[Any, Any, object]]


class PartQueue(Generic[_T]):
    """The parts that a producer gives, as they come; it runs in one task from its beginning to its end, so that what it
    opens belongs to it."""

    def __init__(self, produce: Produce[_T]) -> None:
        """`produce` is called with what takes a part."""
        self._given: asyncio.Queue[tuple[_T] | Exception | None] = asyncio.Queue()  # None: that was all
        self._first: tuple[_T] | Exception | None = None
        self._has_first = False
        self._producer = asyncio.ensure_future(self._run(produce))

    async def _run(self, produce: Produce[_T]) -> None:
        try:
            await produce(lambda part: self._given.put_nowait((part,)))
            self._given.put_nowait(None)
        except Exception as error:
            self._given.put_nowait(error)

    async def begin(self) -> None:
        """Wait for the first part, but no longer than a line may be quiet.

        Raises:
            what the producer raised before it.
        """
        try:
            async with asyncio.timeout(_ALIVE_SECONDS):
                self._first = await self._given.get()
        except TimeoutError:
            return
        self._has_first = True
        if isinstance(self._first, Exception):
            raise self._first

    async def __aiter__(self) -> AsyncIterator[_T | None]:
        """Gives None where nothing has come for some time.

        Raises:
            what the producer raised.
        """
        if not self._has_first:  # the line has been quiet
            yield None
        while True:
            if self._has_first:
                self._has_first, given = False, self._first
            else:
                try:
                    async with asyncio.timeout(_ALIVE_SECONDS):
                        given = await self._given.get()
                except TimeoutError:
                    yield None
                    continue
            if isinstance(given, Exception):
                raise given
            if given is None:
                return
            yield given[0]

    async def stop(self) -> None:
        """End the producer, if it has not ended."""
        if not self._producer.done():
            self._producer.cancel()
            await asyncio.wait((self._producer,))


async def stream_parts(
    request: Request, produce: Produce[_T], events: Callable[[PartQueue[_T]], AsyncGenerator[bytes, None]]
) -> StreamingResponse:
    """The response of `events`, the bytes of the parts' events. The producer ends with it, and when the caller leaves.

    Raises:
        what the producer raised before its first part.
        ClientDisconnect: the caller has left before it.
    """
    parts = PartQueue(produce)
    try:
        await until_gone(request, parts.begin())
    except BaseException:
        await parts.stop()
        raise
    return _PartsResponse(events(parts), parts)


class _PartsResponse(StreamingResponse):
    """Stops the producer whatever becomes of the response; it may not even begin."""

    def __init__(self, content: AsyncGenerator[bytes, None], parts: PartQueue[Any]) -> None:
        super().__init__(
            content,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._parts.stop()

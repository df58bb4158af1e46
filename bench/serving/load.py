"""A closed loop of callers over HTTP/1.1, light enough to share the machine with the server that it measures.

Each caller has one kept-open connection and sends its next request when the answer to the last one is there. Knows
nothing of models: a request is bytes, an answer is bytes and the times at which they came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

__all__ = ["Load", "LoadError", "Reply", "Request", "closed_loop"]

_LARGEST_HEADER = 2**16
_PATIENCE = 1800.0  # for one answer; a server that works one at a time lets 64 callers wait for minutes


class LoadError(Exception):
    """The server refused a request or broke off; with what it said."""


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes


@dataclass
class Reply:
    """Times are those of `time.perf_counter()`. `pieces`: when each part of a stream came, and the part."""

    began: float
    body: bytes = b""
    ended: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Load:
    """Replies that came within a window in which all callers were asking, and the seconds that it lasted."""

    replies: list[Reply]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.replies) / self.seconds


async def closed_loop(
    port: int,
    request: Callable[[int], Request],
    *,
    callers: int,
    seconds: float,
    rounds: int = 2,
    one_at_a_time: bool = False,
) -> Load:
    """Ask until `seconds` are over and each caller could have had `rounds` answers.

    The window opens with the reply after which each caller could have had one, and closes at a whole number for each:
    the first rush does not count, nor do the last stragglers, and answers that come in waves count as whole waves.

    Args:
        request: makes the n-th request.
        one_at_a_time: the server is known to work so. Then nothing is asked that would not count, which would otherwise
            be waited for longer than what counts; who else is waiting changes nothing there.

    Raises:
        LoadError: an answer's status is not 200, none came, or the connection broke.
    """
    replies: list[Reply] = []
    began = time.perf_counter()
    asked = 0
    full = False

    def enough(number: int) -> bool:
        return number >= rounds * callers and time.perf_counter() - began >= seconds

    async def caller() -> None:
        nonlocal asked, full
        async with asyncio.timeout(None) as patience, _Connection(port) as connection:
            while not full and not (one_at_a_time and enough(asked)):
                number, asked = asked, asked + 1
                patience.reschedule(asyncio.get_running_loop().time() + _PATIENCE)
                reply = await connection.ask(request(number))
                if not full:
                    replies.append(reply)
                    full = not one_at_a_time and len(replies) % callers == 0 and enough(len(replies))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
    except ExceptionGroup as failed:
        error = failed.exceptions[0]  # the others ended because of it
        raise error if isinstance(error, LoadError) else LoadError(f"{type(error).__name__}: {error}") from None
    return Load(replies[callers:], replies[-1].ended - replies[callers - 1].ended)


class _Connection:
    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> _Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_LARGEST_HEADER)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: Request) -> Reply:
        head = f"POST {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        reply = Reply(began=time.perf_counter())
        self._writer.write(f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode() + request.body)
        header = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b"\r\ntransfer-encoding: chunked" in header:
            async for piece in self._chunks():
                reply.pieces.append((time.perf_counter(), piece))
            reply.body = b"".join(piece for _, piece in reply.pieces)
        else:
            length = header.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            reply.body = await self._reader.readexactly(int(length))
        reply.ended = time.perf_counter()
        if not header.startswith(b"http/1.1 200"):
            status = header.partition(b"\r\n")[0].decode()
            raise LoadError(f"{request.path}: {status}: {reply.body[:500].decode('utf-8', 'replace')}")
        return reply

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readline(), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()

"""How long a request may take, and that its work ends when its caller has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from fintunnel.wire import ErrorCode
from starlette.requests import ClientDisconnect

from fintunnel_server.api_errors import ApiError

__all__ = ["deadline", "until_gone"]

_T = TypeVar("_T")


@asynccontextmanager
async def deadline(seconds: float, reached: Callable[[], str]) -> AsyncIterator[None]:
    """What is inside ends after so many seconds.

    Raises:
        ApiError: 504, with `reached`: how far it got.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ApiError(504, ErrorCode.DEADLINE_EXCEEDED, f"超过了 {seconds:g} 秒的时限。{reached()}") from None


async def until_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work; it is cancelled when the caller closes the connection.

    Raises:
        ClientDisconnect: it has.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))  # whatever it held is given back before the answer


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

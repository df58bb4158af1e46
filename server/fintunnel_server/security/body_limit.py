"""A body is refused by its size in bytes and its type before anything of it is parsed.

Plain ASGI, because it runs for every request: starlette's BaseHTTPMiddleware would take longer than all the rest of the
app, and would hide from a route that its caller has gone.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request
from fintunnel.wire import ErrorCode
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fintunnel_server.api_errors import ApiError, error_response

__all__ = ["LimitBody"]


_THROWN_AWAY = 8 * 2**20  # bytes


class LimitBody:
    """Refuses a body that is too large, by its header or by what arrives, and one that is not JSON.

    Args:
        max_bytes: of the bodies that each path may be sent by POST; bodies are read nowhere else.
    """

    def __init__(self, app: ASGIApp, max_bytes: Mapping[str, int]) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._max_bytes.get(scope.get("path", ""))
        if limit is None or scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            wrong = ApiError(415, ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Content-Type 应为 application/json")
            await error_response(request, wrong)(scope, receive, send)
            return
        declared = request.headers.get("content-length", "0")
        hopeless = declared.isascii() and declared.isdigit() and int(declared) > limit + _THROWN_AWAY
        body = None if hopeless else await _read(receive, limit)
        if body is None:
            message = f"请求体超过 {limit} 字节的上限"
            # Closed, because the rest of it is not read.
            refusal = ApiError(413, ErrorCode.BODY_TOO_LARGE, message, headers={"Connection": "close"})
            await error_response(request, refusal)(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()  # from here on: that the caller has gone
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where it passes the limit.

    What is over the limit is read on for a while and thrown away: a connection closed on a caller that is still sending
    is reset, and the answer lost with it.

    Raises:
        ClientDisconnect: the caller has gone before it was whole.
    """
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        if size <= limit:
            chunks.append(message.get("body", b""))
        if size > limit + _THROWN_AWAY:
            return None
        if not message.get("more_body", False):
            return b"".join(chunks) if size <= limit else None

"""What a body may be, before anything of it is parsed: its caller has a key, it is JSON, and it is not too large.

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
from fintunnel_server.security.keys import KeyCheck

__all__ = ["GuardBody"]

_THROWN_AWAY = 8 * 2**20  # bytes


class GuardBody:
    """Refuses a body without a key, one that is not JSON, and one that is too large, by its header or by what arrives.

    Args:
        max_bytes: of the bodies that each path may be sent by POST. No other request has its body read.
    """

    def __init__(self, app: ASGIApp, max_bytes: Mapping[str, int], check: KeyCheck) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        limit = self._max_bytes.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            body = b"" if limit is None else await self._checked(request, receive, limit)
        except ApiError as refusal:
            # Closed, because the body, or the rest of it, is not read.
            refusal.headers = {**refusal.headers, "Connection": "close"}
            await error_response(request, refusal)(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive_no_body(receive)  # from here on: that the caller has gone
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _checked(self, request: Request, receive: Receive, limit: int) -> bytes:
        # The route asks for the key too, and charges it; here it is asked before a stranger's body costs anything.
        await self._check.name_of(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Content-Type 应为 application/json")
        declared = request.headers.get("content-length", "0")
        hopeless = declared.isascii() and declared.isdigit() and int(declared) > limit + _THROWN_AWAY
        body = None if hopeless else await _read(receive, limit)
        if body is None:
            raise ApiError(413, ErrorCode.BODY_TOO_LARGE, f"请求体超过 {limit} 字节的上限")
        return body


async def receive_no_body(receive: Receive) -> Message:
    """The next message that is not a piece of a body: of a request whose body nobody reads, pieces may still come."""
    while (message := await receive())["type"] == "http.request":
        pass
    return message


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

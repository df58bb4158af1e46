"""Who may ask, and how much at once: the API key, the body's size and type, the request's id.

The last three are plain ASGI, because they run for every request: starlette's BaseHTTPMiddleware would take longer than
all the rest of the app, and would hide from a route that its caller has gone.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Awaitable, Callable

from fastapi import Request
from fintunnel.wire import ErrorCode
from pydantic import SecretStr
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fintunnel_server.api_errors import ApiError, error_response, internal_error

__all__ = ["LimitBody", "TagRequest", "require_key"]


def require_key(key: SecretStr | None) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass with `Authorization: Bearer KEY`, or always where no key is set."""
    expected = key.get_secret_value().encode() if key is not None else None

    async def check(request: Request) -> None:  # a plain function would be run in a thread of its own
        if expected is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # compare_digest takes the same time wherever the first difference stands.
        matches = hmac.compare_digest(given.strip().encode(), expected)
        if scheme.lower() != "bearer" or not matches:
            raise ApiError(
                401, ErrorCode.INVALID_API_KEY, "密钥缺失或不正确，应为 Authorization: Bearer <FINTUNNEL_API_KEY>"
            )

    return check


class TagRequest:
    """Gives a request an id that its answer carries, and the log where it failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number = f"req-{uuid.uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = number
        begun = False

        async def tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)["X-Request-ID"] = number
            await send(message)

        try:
            await self._app(scope, receive, tagged)
        except ClientDisconnect:
            pass  # nobody is there to read an answer
        except Exception as error:
            response = internal_error(Request(scope), error)
            if begun:
                raise
            await response(scope, receive, tagged)


class LimitBody:
    """Refuses a body that is too large, by its header or by what arrives, and one that is not JSON."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            refusal = error_response(
                request, 415, ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Content-Type 应为 application/json"
            )
            await refusal(scope, receive, send)
            return
        declared = request.headers.get("content-length", "0")
        too_large = declared.isascii() and declared.isdigit() and int(declared) > self._max_bytes
        body = None if too_large else await self._read(receive)
        if body is None:
            refusal = error_response(request, 413, ErrorCode.BODY_TOO_LARGE, f"请求体超过 {self._max_bytes} 字节的上限")
            await refusal(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()  # from here on: that the caller has gone
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None where it passes the limit.

        Raises:
            ClientDisconnect: the caller has gone before it was whole.
        """
        chunks = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(chunks)

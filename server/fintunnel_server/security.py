"""Who may ask, and how much at once: the API key, the body's size and type, the request's id."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fintunnel.wire import ErrorCode
from pydantic import SecretStr
from starlette.requests import ClientDisconnect

from fintunnel_server.api_errors import ApiError, error_response, internal_error

__all__ = ["limit_body", "require_key", "tag_request"]

_Next = Callable[[Request], Awaitable[Response]]


def require_key(key: SecretStr | None) -> Callable[[Request], None]:
    """A dependency that lets a request pass with `Authorization: Bearer KEY`, or always where no key is set."""
    expected = key.get_secret_value().encode() if key is not None else None

    def check(request: Request) -> None:
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


async def tag_request(request: Request, call_next: _Next) -> Response:
    """Give the request an id that its answer carries, and the log where it failed."""
    request.state.request_id = f"req-{uuid.uuid4().hex}"
    try:
        response = await call_next(request)
    except ClientDisconnect:
        response = Response(status_code=400)  # nobody is there to read it
    except Exception as error:
        response = internal_error(request, error)
    response.headers["X-Request-ID"] = request.state.request_id
    return response


def limit_body(max_bytes: int) -> Callable[[Request, _Next], Awaitable[Response]]:
    """Refuse a body that is too large, by its header or by what arrives, and one that is not JSON."""

    async def middleware(request: Request, call_next: _Next) -> Response:
        if request.method not in ("POST", "PUT", "PATCH"):
            return await call_next(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return error_response(request, 415, ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Content-Type 应为 application/json")
        declared = request.headers.get("content-length", "0")
        if (declared.isascii() and declared.isdigit() and int(declared) > max_bytes) or (
            await _longer_than(request, max_bytes)
        ):
            return error_response(request, 413, ErrorCode.BODY_TOO_LARGE, f"请求体超过 {max_bytes} 字节的上限")
        return await call_next(request)

    return middleware


async def _longer_than(request: Request, max_bytes: int) -> bool:
    """Read the body up to the limit. What fits is kept on the request, where the route finds it."""
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            return True
        chunks.append(chunk)
    request._body = b"".join(chunks)  # where starlette's own `body()` keeps it; call_next replays it
    return False

"""What every request gets, whatever its route: an id, a place in the log and the metrics, an answer to each failure,
and 503 once the server is stopping.

Plain ASGI: starlette's BaseHTTPMiddleware would take longer than all the rest of the app, and would hide from a route
that its caller has gone.
"""

from __future__ import annotations

import logging
import time
import uuid
from http import HTTPStatus

from fastapi import Request
from fintunnel.wire import ErrorCode
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fintunnel_server.api_errors import ApiError, error_response, internal_error
from fintunnel_server.running.drain import STOPPING, Drain
from fintunnel_server.running.logs import RareLog, RequestLog, current_request
from fintunnel_server.running.metrics import Metrics

__all__ = ["AccountRequest"]

logger = logging.getLogger("fintunnel.access")

_PROBES = ("/health", "/ready")  # balancers and waiting clients ask for these twice a second: no line for each
_strangers = RareLog("fintunnel.access", seconds=60.0)
_HUNG_UP = 499  # what nginx calls a caller that closed the connection before its answer


class AccountRequest:
    def __init__(self, app: ASGIApp, drain: Drain, metrics: Metrics) -> None:
        self._app = app
        self._drain = drain
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        log = RequestLog(request_id=f"req-{uuid.uuid4().hex}")
        scope.setdefault("state", {})["request_id"] = log.request_id
        status = 0

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = log.request_id
                if self._drain.has_begun:
                    headers["Connection"] = "close"
            await send(message)

        token = current_request.set(log)
        try:
            with self._drain.request():
                if self._drain.has_begun and scope["path"] != "/health":
                    await self._refuse(scope, receive, tagged)
                elif not scope["path"].isprintable():
                    # Patterns of routes end in `$`, which matches before a line end too: such a path would reach a
                    # route under another name than its guards know.
                    nowhere = ApiError(404, ErrorCode.NOT_FOUND, "没有这个地址")
                    await error_response(Request(scope), nowhere)(scope, receive, tagged)
                else:
                    await self._app(scope, receive, tagged)
        except ClientDisconnect:
            status = status or _HUNG_UP  # nobody is there to read an answer
        except Exception as error:
            response = internal_error(Request(scope), error)
            if status:
                raise
            await response(scope, receive, tagged)
        finally:
            self._account(scope, status, time.monotonic() - began, log)
            current_request.reset(token)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        stopping = ApiError(503, ErrorCode.SHUTTING_DOWN, f"{STOPPING}，请稍后再试。", retry_after=5.0)
        await error_response(Request(scope), stopping)(scope, receive, send)

    def _account(self, scope: Scope, status: int, seconds: float, log: RequestLog) -> None:
        state = scope["state"]
        log.key_name = state.get("key_name")
        codes = state.get("error_codes", [])
        self._metrics.request(_route(scope), scope["method"], status, seconds)
        for code in codes:
            self._metrics.error(code)
        if scope["path"] not in _PROBES:
            # The path without its query, in which somebody may have put a key; ascii() keeps it on its line.
            path = ascii(scope["path"])[1:-1][:200]
            fields = {"method": scope["method"], "path": path, "status": status, "ms": round(seconds * 1000, 1)}
            if codes:
                fields["code"] = codes[-1]
            if status == HTTPStatus.TOO_MANY_REQUESTS and log.key_name is None:
                _strangers.warning("more strangers than may try in a minute are turned away")
            else:
                logger.info(
                    " ".join(f"{value} ms" if name == "ms" else str(value) for name, value in fields.items()),
                    extra=fields,
                )


def _route(scope: Scope) -> str:
    """The route's path as the app defines it: a stranger's paths must not become ever more series."""
    return str(getattr(scope.get("route"), "path", "other"))

"""Who may ask: a browser on this machine, and to change something only the page that it got from here.

Plain ASGI, as all that runs for every request.
"""

from __future__ import annotations

import uuid

from fastapi import Request
from fintunnel.wire import ErrorCode
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fintunnel_server.api_errors import ApiError, error_response, internal_error
from fintunnel_server.security.keys import KeyCheck

__all__ = ["OnlyThisPage"]


class OnlyThisPage:
    """Refuses what another site's page, open in the same browser, asks: by the Host that it had to name (DNS
    rebinding), or by its Origin (forged requests). Gives every request an id, and an answer to each failure.

    Args:
        check: of no keys.
    """

    def __init__(self, app: ASGIApp, check: KeyCheck) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = f"req-{uuid.uuid4().hex}"
        request = Request(scope)
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._check.name_of(request)
            _refuse_others(request)
            await self._app(scope, receive, watched)
        except ApiError as refusal:
            # Closed, because a body is not read.
            refusal.headers = {**refusal.headers, "Connection": "close"}
            await error_response(request, refusal)(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to read an answer
        except Exception as error:
            response = internal_error(request, error)
            if begun:
                raise
            await response(scope, receive, send)


def _refuse_others(request: Request) -> None:
    if not request.scope["path"].isprintable():
        # Patterns of routes end in `$`, which matches before a line end too: such a path would reach a route under
        # another name than the guard of its body knows.
        raise ApiError(404, ErrorCode.NOT_FOUND, "没有这个地址")
    # Every browser names the origin of what is not only read, and no page can name another's.
    own = f"http://{request.headers.get('host', '')}"
    if request.method not in ("GET", "HEAD") and request.headers.get("origin") != own:
        raise ApiError(401, ErrorCode.INVALID_API_KEY, "评分只能从评分页面提交：请打开启动时显示的网址。")

"""Headers that tell a browser what it must not do with an answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SECURITY_HEADERS", "SecurityHeaders"]

# https://owasp.org/www-project-secure-headers; HSTS is the tunnel's or balancer's, which speaks https.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    # Answers are the caller's alone, and none of them is a document; the pages' own headers say otherwise.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Adds them to every answer that does not set them itself. Plain ASGI, as all that runs for every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if headers.get("Content-Type") == "application/json":
                    # JSON is UTF-8 without saying so; Windows PowerShell 5.1 reads it as Latin-1 unless it is said.
                    headers["Content-Type"] = "application/json; charset=utf-8"
            await send(message)

        await self._app(scope, receive, with_headers)

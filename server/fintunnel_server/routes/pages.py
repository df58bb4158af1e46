"""The web page at `/` and Swagger UI at `/docs`: files that are known when the app is made.

There is one route for each file, so nothing of a request ever becomes a path. They carry no data and ask for the key.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response

__all__ = ["pages_router"]

_PAGE = Path(__file__).parents[1] / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def pages_router() -> APIRouter:
    """GET and HEAD of each file, with an ETag: a browser keeps a file and asks whether it is still the same."""
    router = APIRouter(include_in_schema=False)
    for path, file in _files().items():
        router.add_api_route(path, _answer(file), methods=["GET", "HEAD"])
    return router


class _StaticFile:
    """A file's bytes in both forms; Swagger UI is 1.5 MB, and a third of that compressed."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.compressed = gzip.compress(self.content, mtime=0)
        self.media_type = _TYPES[path.suffix]
        self.tag = hashlib.sha256(self.content).hexdigest()[:32]


@cache
def _files() -> dict[str, _StaticFile]:
    paths = {"/": _PAGE / "index.html", "/docs": _PAGE / "docs" / "index.html"}
    paths |= {f"/page/{path.name}": path for path in sorted(_PAGE.iterdir()) if path.suffix in (".js", ".css", ".svg")}
    paths |= {f"/docs/{name}": _PAGE / "docs" / name for name in ("docs.js", "docs.css")}
    paths |= {f"/docs/{name}": _swagger() / name for name in _SWAGGER_FILES}
    return {address: _StaticFile(path) for address, path in paths.items()}


def _swagger() -> Path:
    """Where the package fastapi-offline keeps Swagger UI. Its code is not used."""
    spec = find_spec("fastapi_offline")
    assert spec is not None and spec.origin is not None  # a requirement of this package
    return Path(spec.origin).parent / "static"


def _answer(file: _StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        compressed = "gzip" in request.headers.get("accept-encoding", "")
        tag = f'"{file.tag}{"-gzip" if compressed else ""}"'
        headers = _HEADERS | {"ETag": tag}
        known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
        if tag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(file.compressed if compressed else file.content, media_type=file.media_type, headers=headers)

    return answer

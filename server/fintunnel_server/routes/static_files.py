"""Files that are known when the app is made: pages, their scripts and styles.

There is one route for each file, so nothing of a request ever becomes a path.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

__all__ = ["add_static_files"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_static_files(router: APIRouter, files: Mapping[str, Path]) -> None:
    """GET and HEAD of each file at its address, with an ETag: a browser keeps it and asks whether it is still the
    same."""
    for address, path in files.items():
        router.add_api_route(address, _answer(_read(path)), methods=["GET", "HEAD"])


class _StaticFile:
    """A file's bytes in both forms; Swagger UI is 1.5 MB, and a third of that compressed."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.compressed = gzip.compress(self.content, mtime=0)
        self.media_type = _TYPES[path.suffix]
        self.tag = hashlib.sha256(self.content).hexdigest()[:32]


_read = cache(_StaticFile)


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

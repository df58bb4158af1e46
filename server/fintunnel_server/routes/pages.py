"""The web page at `/` and Swagger UI at `/docs`. They carry no data and ask for the key."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter

from fintunnel_server.routes.static_files import add_static_files

__all__ = ["PAGE", "pages_router"]

PAGE = Path(__file__).parents[1] / "page"
_SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")


def pages_router() -> APIRouter:
    files = {"/": PAGE / "index.html", "/docs": PAGE / "docs" / "index.html"}
    files |= {f"/page/{path.name}": path for path in sorted(PAGE.iterdir()) if path.suffix in (".js", ".css", ".svg")}
    files |= {f"/docs/{name}": PAGE / "docs" / name for name in ("docs.js", "docs.css")}
    files |= {f"/docs/{name}": _swagger() / name for name in _SWAGGER_FILES}
    router = APIRouter(include_in_schema=False)
    add_static_files(router, files)
    return router


def _swagger() -> Path:
    """Where the package fastapi-offline keeps Swagger UI. Its code is not used."""
    spec = find_spec("fastapi_offline")
    assert spec is not None and spec.origin is not None  # a requirement of this package
    return Path(spec.origin).parent / "static"

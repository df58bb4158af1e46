"""`/openapi.json`: what the routes take and answer. Behind the key: it says what runs here."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from fintunnel_server.api_errors import error_responses

__all__ = ["document_router"]

_OPEN = ("/health", "/ready")
_DESCRIPTION = (
    "A finance-news analyst behind one URL. Every error of every route has the same body, `ErrorBody`; "
    "a field that is not known gets 422, never silence."
)


def document_router(app: FastAPI, *, with_keys: bool) -> APIRouter:
    router = APIRouter(tags=["document"])

    @router.get("/openapi.json", summary="This document", responses=error_responses())
    async def document() -> dict[str, Any]:
        return openapi_of(app, with_keys=with_keys)

    return router


def openapi_of(app: FastAPI, *, with_keys: bool) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version="1", description=_DESCRIPTION, routes=app.routes)
        if with_keys:
            document.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if path not in _OPEN:
                        operation["security"] = [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema

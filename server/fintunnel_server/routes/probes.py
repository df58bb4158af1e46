"""`/health`, `/ready`: open and bodyless, for balancers; `/metrics` for Prometheus, behind the key."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError, error_responses
from fintunnel_server.running.metrics import CONTENT_TYPE
from fintunnel_server.service import Service

__all__ = ["metrics_router", "probes_router"]


def probes_router(service: Service, ready: asyncio.Event) -> APIRouter:
    """`ready`: set once the model has answered a self-test."""
    router = APIRouter(tags=["probes"])

    @router.head("/health", include_in_schema=False)
    @router.get("/health", response_class=Response, summary="The process answers", responses=error_responses(key=False))
    async def health() -> Response:
        return Response()

    @router.head("/ready", include_in_schema=False)
    @router.get(
        "/ready", response_class=Response, summary="The model answers; 503 before that and while the server stops",
        responses=error_responses(503, key=False),
    )  # fmt: skip
    async def is_ready() -> Response:
        if not ready.is_set():
            raise ApiError(503, ErrorCode.NOT_READY, "模型还没有就绪，请稍候再试")
        await service.engine.check()
        return Response()

    return router


def metrics_router(service: Service) -> APIRouter:
    router = APIRouter(tags=["probes"])

    @router.get(
        "/metrics", response_class=Response, summary="Prometheus metrics",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **error_responses()},
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return router

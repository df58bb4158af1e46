"""The app: routes and lifespan, nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from fintunnel.wire import (
    AdapterLoad,
    AdapterLoaded,
    AnalyzeRequest,
    ErrorCode,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
)
from fintunnel_training.errors import AdapterError

from fintunnel_server.adapter_root import folder_under
from fintunnel_server.analyze import analyze
from fintunnel_server.api_errors import ApiError, add_error_handlers
from fintunnel_server.engine import Engine
from fintunnel_server.limits import until_gone
from fintunnel_server.model_names import adapter_of
from fintunnel_server.openai_routes import openai_router
from fintunnel_server.progress import Progress
from fintunnel_server.security import LimitBody, TagRequest, require_key
from fintunnel_server.settings import ServerSettings
from fintunnel_server.sse import stream_analysis

__all__ = ["create_app"]

logger = logging.getLogger("fintunnel.server")

_RETEST_SECONDS = 10.0


def create_app(
    settings: ServerSettings, engine: Engine, load_adapter: Callable[[str, Path], None] | None = None
) -> FastAPI:
    """`load_adapter`: adds an adapter folder by name; there is a route for it where `settings.adapter_root` is set."""
    ready = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background: /health answers during the model's first, slow pass.
        self_test = asyncio.create_task(_self_test(settings, engine, ready))
        yield
        ready.clear()
        self_test.cancel()
        await engine.close()

    # No /docs yet: its assets come from a CDN that many of the users cannot reach.
    app = FastAPI(title="FinTunnel", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False  # a redirect would send callers to whatever Host they named
    add_error_handlers(app)
    app.add_middleware(LimitBody, max_bytes=settings.max_body_bytes)
    app.add_middleware(TagRequest)  # added last, runs first: the refusals above carry an id too
    app.include_router(_open_routes(engine, ready))
    guarded = [Depends(require_key(settings.api_key))]
    app.include_router(_routes(settings, engine), dependencies=guarded)
    app.include_router(openai_router(settings, engine), dependencies=guarded)
    if load_adapter is not None and settings.adapter_root is not None:
        app.include_router(_admin_routes(settings.adapter_root, load_adapter), dependencies=guarded)
    return app


def _open_routes(engine: Engine, ready: asyncio.Event) -> APIRouter:
    router = APIRouter()

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> Response:
        return Response()

    @router.head("/ready", include_in_schema=False)
    @router.get("/ready")
    async def is_ready() -> Response:
        if not ready.is_set():
            raise ApiError(503, ErrorCode.NOT_READY, "模型还没有就绪，请稍候再试")
        await engine.check()
        return Response()

    return router


def _routes(settings: ServerSettings, engine: Engine) -> APIRouter:
    router = APIRouter()

    @router.post("/analyze")
    async def analyze_one(body: Annotated[AnalyzeRequest, Body()], request: Request) -> NewsAnalysis | ReportAnswer:
        adapter = adapter_of(engine, body.adapter, param="adapter")
        progress = Progress(settings.request_timeout)
        parts = analyze(body, engine, adapter=adapter, max_prompt_tokens=settings.max_prompt_tokens)
        return await until_gone(request, progress.last(parts))

    @router.post("/analyze/stream")
    async def analyze_stream(body: Annotated[AnalyzeRequest, Body()], request: Request) -> StreamingResponse:
        adapter = adapter_of(engine, body.adapter, param="adapter")
        parts = analyze(body, engine, adapter=adapter, max_prompt_tokens=settings.max_prompt_tokens)
        return await stream_analysis(request, Progress(settings.request_timeout), parts)

    return router


def _admin_routes(root: Path, load_adapter: Callable[[str, Path], None]) -> APIRouter:
    router = APIRouter()

    @router.post("/admin/adapters")
    async def add_adapter(body: AdapterLoad) -> AdapterLoaded:
        given = body.folder or body.name
        folder = folder_under(root, given)
        try:
            await asyncio.to_thread(load_adapter, body.name, folder)  # the files are read while others are answered
        except AdapterError as error:  # callers need not know where the root is
            message = str(error).replace(str(folder), given)
            raise ApiError(422, ErrorCode.INVALID_REQUEST, message) from error
        return AdapterLoaded(name=body.name)

    return router


async def _self_test(settings: ServerSettings, engine: Engine, ready: asyncio.Event) -> None:
    """Ready means that the model has answered, not that a file was loaded. An upstream may be too busy at first."""
    request = NewsRequest(text="现货黄金短线走高。", explain=False)
    adapter = engine.info.default_adapter
    while not ready.is_set():
        try:
            async for _ in analyze(request, engine, adapter=adapter, max_prompt_tokens=settings.max_prompt_tokens):
                pass
            ready.set()
        except Exception:
            logger.exception("the model failed its self-test; /ready stays 503 until it passes")
            await asyncio.sleep(_RETEST_SECONDS)

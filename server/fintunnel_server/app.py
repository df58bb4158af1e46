"""The app: routes and lifespan, nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, Response
from fintunnel.wire import (
    BASE_ADAPTER,
    DEFAULT_MODEL_NAME,
    AnalyzeRequest,
    ChatCompletion,
    ChatRequest,
    ErrorCode,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
)

from fintunnel_server.analyze import analyze
from fintunnel_server.api_errors import ApiError, add_error_handlers
from fintunnel_server.engine import Engine
from fintunnel_server.openai_api import complete_chat
from fintunnel_server.security import limit_body, require_key, tag_request
from fintunnel_server.settings import ServerSettings

__all__ = ["create_app"]

logger = logging.getLogger("fintunnel.server")


def create_app(settings: ServerSettings, engine: Engine) -> FastAPI:
    ready = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background: /health answers during the model's first, slow pass.
        self_test = asyncio.create_task(_self_test(settings, engine, ready))
        yield
        ready.clear()
        self_test.cancel()
        engine.close()

    # No /docs yet: its assets come from a CDN that many of the users cannot reach.
    app = FastAPI(title="FinTunnel", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False  # a redirect would send callers to whatever Host they named
    add_error_handlers(app)
    app.middleware("http")(limit_body(settings.max_body_bytes))
    app.middleware("http")(tag_request)  # added last, runs first: the refusals above carry an id too
    app.include_router(_open_routes(ready))
    app.include_router(_routes(settings, engine), dependencies=[Depends(require_key(settings.api_key))])
    return app


def _open_routes(ready: asyncio.Event) -> APIRouter:
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
        return Response()

    return router


def _routes(settings: ServerSettings, engine: Engine) -> APIRouter:
    router = APIRouter()

    @router.post("/analyze")
    async def analyze_one(request: Annotated[AnalyzeRequest, Body()]) -> NewsAnalysis | ReportAnswer:
        adapter = _adapter(engine, request.adapter, param="adapter")
        return await analyze(request, engine, adapter=adapter, max_prompt_tokens=settings.max_prompt_tokens)

    @router.post("/v1/chat/completions")
    async def chat(request: ChatRequest) -> ChatCompletion:
        name = None if request.model == DEFAULT_MODEL_NAME else request.model
        adapter = _adapter(engine, name, param="model")
        return await complete_chat(request, engine, adapter=adapter, max_prompt_tokens=settings.max_prompt_tokens)

    return router


def _adapter(engine: Engine, name: str | None, *, param: str) -> str | None:
    """The adapter that a request's name means; None is the bare base."""
    if name is None:
        return engine.info.default_adapter
    if name == BASE_ADAPTER:
        return None
    if name not in engine.info.adapters:
        known = "、".join([*engine.info.adapters, BASE_ADAPTER])
        raise ApiError(404, ErrorCode.UNKNOWN_MODEL, f"没有这个模型，可用的是：{known}", param)
    return name


async def _self_test(settings: ServerSettings, engine: Engine, ready: asyncio.Event) -> None:
    """Ready means that the model has answered, not that a file was loaded."""
    request = NewsRequest(text="现货黄金短线走高。", explain=False)
    try:
        await analyze(
            request,
            engine,
            adapter=engine.info.default_adapter,
            max_prompt_tokens=settings.max_prompt_tokens,
        )
    except Exception:
        logger.exception("the model failed its self-test; /ready stays 503")
        return
    ready.set()

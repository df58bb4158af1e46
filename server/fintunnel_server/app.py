"""The app: what it is made of, in which order, and its lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fintunnel.wire import NewsRequest
from starlette.middleware.cors import CORSMiddleware

from fintunnel_server.api_errors import add_error_handlers
from fintunnel_server.engine import Engine
from fintunnel_server.routes.admin import admin_router
from fintunnel_server.routes.analyses import analyses_router
from fintunnel_server.routes.document import document_router
from fintunnel_server.routes.openai import openai_router
from fintunnel_server.routes.pages import pages_router
from fintunnel_server.routes.probes import metrics_router, probes_router
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.metrics import Metrics
from fintunnel_server.running.requests import AccountRequest
from fintunnel_server.security.body_limit import GuardBody
from fintunnel_server.security.headers import SecurityHeaders
from fintunnel_server.security.keys import ApiKeys, KeyCheck, require_key
from fintunnel_server.security.rate_limit import RateLimit
from fintunnel_server.service import Service
from fintunnel_server.settings import ServerSettings
from fintunnel_server.tunnel import Tunnel

__all__ = ["create_app"]

logger = logging.getLogger("fintunnel.server")

_RETEST_SECONDS = 10.0
_BATCH_BODIES = 8  # times a single request's size: 64 headlines are not 64 times as long as the longest


def create_app(
    settings: ServerSettings,
    engine: Engine,
    load_adapter: Callable[[str, Path], None] | None = None,
    *,
    drain: Drain | None = None,
    tunnel: Tunnel | None = None,
) -> FastAPI:
    """
    Args:
        load_adapter: adds an adapter folder by name; there is a route for it where `settings.adapter_root` is set.
        drain: of the server that runs the app; it begins the end.
        tunnel: the one that leads here, for the metrics.
    """
    drain = drain or Drain(settings.drain_seconds)
    metrics = Metrics(engine, lambda: drain.under_way, tunnel)
    service = Service(settings, engine, drain, metrics, ApiKeys(settings.keys), RateLimit(settings.rate_limit))
    ready = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background: /health answers during the model's first, slow pass.
        self_test = asyncio.create_task(_self_test(service, ready))
        yield
        ready.clear()
        self_test.cancel()
        await engine.close()

    # FastAPI's own /docs takes its assets from a CDN that many of the users cannot reach; ours is beside the page.
    app = FastAPI(title="FinTunnel", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.metrics = metrics  # for what is refused before it reaches the app
    app.router.redirect_slashes = False  # a redirect would send callers to whatever Host they named
    add_error_handlers(app)
    app.include_router(probes_router(service, ready))
    check = KeyCheck(service.keys)
    guarded = [Depends(require_key(check, service.rate))]
    routers = [analyses_router(service), openai_router(service), metrics_router(service)]
    if load_adapter is not None and settings.adapter_root is not None:
        routers.append(admin_router(settings.adapter_root, load_adapter))
    routers.append(document_router(app, with_keys=bool(service.keys)))
    for router in routers:
        app.include_router(router, dependencies=guarded)
    if settings.page:
        app.include_router(pages_router())

    # The last one added runs first: the refusals of the others have an id, a line in the log, and the headers.
    app.add_middleware(GuardBody, max_bytes=_body_limits(routers, settings.max_body_bytes), check=check)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "ngrok-skip-browser-warning"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(AccountRequest, drain=drain, metrics=metrics)
    app.add_middleware(SecurityHeaders)
    return app


def _body_limits(routers: Sequence[APIRouter], max_bytes: int) -> dict[str, int]:
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    limits = {route.path: max_bytes for route in routes if "POST" in (route.methods or ())}
    return limits | {"/analyze/batch": max_bytes * _BATCH_BODIES}


async def _self_test(service: Service, ready: asyncio.Event) -> None:
    """Ready means that the model has answered, not that a file was loaded. An upstream may be too busy at first."""
    request = NewsRequest(text="现货黄金短线走高。", explain=False)
    last: Exception | None = None
    while not ready.is_set():
        try:
            async for _ in service.analyze(request):
                pass
            ready.set()
        except Exception as error:
            told = not isinstance(error, type(last)) or str(error) != str(last)
            logger.error("the model failed its self-test: %s", error, exc_info=error if told else None)
            last = error
            await asyncio.sleep(_RETEST_SECONDS)

"""`/analyze`, `/analyze/stream`, `/analyze/batch`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.responses import StreamingResponse
from fintunnel.wire import (
    AnalyzeRequest,
    BatchRequest,
    BatchResponse,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
)

from fintunnel_server.analysis.analyze import Analysis
from fintunnel_server.analysis.batch import analyze_batch
from fintunnel_server.analysis.events import EVENTS_SCHEMA, stream_analysis
from fintunnel_server.api_errors import error_responses
from fintunnel_server.running.hang_up import until_gone
from fintunnel_server.security.keys import key_name
from fintunnel_server.service import Service

__all__ = ["analyses_router"]

_ERRORS = error_responses(400, 404, 413, 415, 422, 504)


def analyses_router(service: Service) -> APIRouter:
    router = APIRouter(tags=["analyses"])

    @router.post("/analyze", summary="Analyse a headline, or answer a question on a report", responses=_ERRORS)
    async def analyze_one(body: Annotated[AnalyzeRequest, Body()], request: Request) -> NewsAnalysis | ReportAnswer:
        parts = service.analyze(body)
        return await until_gone(request, service.progress().last(parts))

    @router.post(
        "/analyze/stream",
        response_class=StreamingResponse,
        summary="The same as server-sent events: `analysis`, `token` …, then `done` or `error`",
        responses={200: {"content": {"text/event-stream": {"schema": EVENTS_SCHEMA}}}, **_ERRORS},
    )
    async def analyze_stream(body: Annotated[AnalyzeRequest, Body()], request: Request) -> StreamingResponse:
        parts = service.analyze(body)
        return await stream_analysis(request, service.progress(), parts)

    @router.post(
        "/analyze/batch",
        summary="Up to 64 of them; each is checked and answered by itself, in order",
        responses=error_responses(400, 413, 415, 422),
    )
    async def analyze_many(body: BatchRequest, request: Request) -> BatchResponse:
        name = key_name(request)
        if name is not None:
            await service.rate.charge(name, len(body.items) - 1, counted=1)  # the request itself was charged
        progress = service.progress()

        async def analyze_item(item: NewsRequest | ReportRequest) -> Analysis:
            # The batch has a request's time: what is not done by then is told so, and the rest is kept.
            return await progress.another().last(service.analyze(item))

        answering = analyze_batch(request, body.items, analyze_item, at_once=service.settings.max_rows)
        return BatchResponse(results=await until_gone(request, answering))

    return router

"""The routes under `/v1`, in OpenAI's shape."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fintunnel.wire import (
    DEFAULT_MODEL_NAME,
    ChatCompletion,
    ChatRequest,
    ErrorBody,
    ErrorCode,
    ModelCard,
    ModelList,
)

from fintunnel_server.api_errors import ApiError
from fintunnel_server.engine import Engine
from fintunnel_server.limits import until_gone
from fintunnel_server.model_names import adapter_of, model_names
from fintunnel_server.openai_api import ChatReply
from fintunnel_server.progress import Progress
from fintunnel_server.settings import ServerSettings

__all__ = ["openai_router"]

_Responses = dict[int | str, dict[str, Any]]


def _errors(*statuses: int) -> _Responses:
    return {status: {"model": ErrorBody} for status in statuses}


_STREAM: _Responses = {
    200: {
        "description": "One object, or with `stream` events `data: {chat.completion.chunk}`, then `data: [DONE]`; "
        "an error after the first event is `data: {error body}`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def openai_router(settings: ServerSettings, engine: Engine) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    started = int(time.time())

    def card(name: str) -> ModelCard:
        return ModelCard(id=name, object="model", created=started, owned_by="fintunnel")

    @router.post(
        "/chat/completions",
        response_model=ChatCompletion,
        response_model_exclude_unset=True,
        responses=_STREAM | _errors(400, 401, 404, 413, 415, 422, 429, 500, 503, 504),
    )
    async def chat(body: ChatRequest, request: Request) -> Response | ChatCompletion:
        name = None if body.model == DEFAULT_MODEL_NAME else body.model
        reply = ChatReply(
            body,
            engine,
            adapter=adapter_of(engine, name, param="model"),
            max_prompt_tokens=settings.max_prompt_tokens,
            progress=Progress(settings.request_timeout),
        )
        if body.stream:
            return await reply.stream(request)
        return await until_gone(request, reply.whole())

    @router.get("/models", responses=_errors(401))
    async def models() -> ModelList:
        return ModelList(object="list", data=[card(name) for name in model_names(engine)])

    @router.get("/models/{name}", responses=_errors(401, 404))
    async def model(name: str) -> ModelCard:
        if name not in model_names(engine):
            known = "、".join(model_names(engine))
            raise ApiError(404, ErrorCode.UNKNOWN_MODEL, f"没有这个模型，可用的是：{known}", "model")
        return card(name)

    return router

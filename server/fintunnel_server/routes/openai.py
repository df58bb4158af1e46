"""The routes under `/v1`, in OpenAI's shape, for clients that speak only that."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from fintunnel.openai_wire import ChatCompletion, ChatRequest, ModelCard, ModelList
from fintunnel.wire import BASE_ADAPTER, DEFAULT_MODEL_NAME

from fintunnel_server.api_errors import error_responses
from fintunnel_server.chat.reply import ChatReply
from fintunnel_server.model_names import model_names, unknown_model
from fintunnel_server.running.hang_up import until_gone
from fintunnel_server.service import Service

__all__ = ["openai_router"]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One object, or with `stream` events `data: {chat.completion.chunk}`, then `data: [DONE]`; "
        "an error after the first event is `data: {error body}`.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
            }
        },
    }
}


def openai_router(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"])
    started = int(time.time())

    def card(name: str) -> ModelCard:
        info = service.engine.info
        adapter = {DEFAULT_MODEL_NAME: info.default_adapter, BASE_ADAPTER: None}.get(name, name)
        return ModelCard(
            id=name,
            object="model",
            created=started,
            owned_by="fintunnel",
            root=info.base if adapter is None else adapter,
            parent=None if adapter is None else info.base,
        )

    @router.post(
        "/chat/completions",
        response_model=ChatCompletion,
        response_model_exclude_unset=True,
        responses=_STREAM | error_responses(400, 404, 413, 415, 422, 504),
    )
    async def chat(body: ChatRequest, request: Request) -> Response | ChatCompletion:
        reply = ChatReply(
            body,
            service.engine,
            adapter=service.adapter(body.model, param="model"),
            max_prompt_tokens=service.settings.max_prompt_tokens,
            progress=service.progress(),
        )
        if body.stream:
            return await reply.stream(request)
        return await until_gone(request, reply.whole())

    @router.get("/models", responses=error_responses())
    async def models() -> ModelList:
        return ModelList(object="list", data=[card(name) for name in model_names(service.engine)])

    @router.get("/models/{name}", responses=error_responses(404, 422))
    async def model(name: Annotated[str, Path(examples=[DEFAULT_MODEL_NAME])]) -> ModelCard:
        if name not in model_names(service.engine):
            raise unknown_model(service.engine, "model")
        return card(name)

    return router

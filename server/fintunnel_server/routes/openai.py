"""`/v1/chat/completions`, for clients that speak only OpenAI's API."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fintunnel.wire import ChatCompletion, ChatRequest

from fintunnel_server.api_errors import error_responses
from fintunnel_server.limits import until_gone
from fintunnel_server.openai_api import complete_chat
from fintunnel_server.service import Service

__all__ = ["openai_router"]


def openai_router(service: Service) -> APIRouter:
    router = APIRouter(tags=["openai"])

    @router.post("/v1/chat/completions", responses=error_responses(400, 404, 413, 415, 422, 500, 503, 504))
    async def chat(body: ChatRequest, request: Request) -> ChatCompletion:
        completion = complete_chat(
            body,
            service.engine,
            adapter=service.adapter(body.model, param="model"),
            max_prompt_tokens=service.settings.max_prompt_tokens,
            progress=service.progress(),
        )
        return await until_gone(request, completion)

    return router

"""`/v1/chat/completions`, in OpenAI's shape."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fintunnel.wire.analysis import DEFAULT_MODEL_NAME
from fintunnel.wire.model import WireModel

__all__ = [
    "ChatChoice",
    "ChatCompletion",
    "ChatMessage",
    "ChatRequest",
    "ChatUsage",
]


class ChatMessage(WireModel):
    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=32_000)


class ChatRequest(WireModel):
    """The fields that are served; any other gets 422."""

    model: str = Field(DEFAULT_MODEL_NAME, max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=64)
    max_tokens: int | None = Field(None, ge=1, le=2048)
    max_completion_tokens: int | None = Field(None, ge=1, le=2048)
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stream: Literal[False] = False
    n: Literal[1] = 1


class ChatUsage(WireModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatChoice(WireModel):
    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length"]


class ChatCompletion(WireModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage

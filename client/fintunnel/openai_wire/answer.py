"""`/v1/chat/completions` and `/v1/models`, what is answered: OpenAI's shape."""

from __future__ import annotations

from typing import Literal

from fintunnel.openai_wire.messages import ToolCall
from fintunnel.wire.model import WireModel

__all__ = [
    "ChatChoice",
    "ChatChunk",
    "ChatChunkChoice",
    "ChatCompletion",
    "ChatDelta",
    "ChatLogprobs",
    "ChatMessage",
    "ChatTokenLogprob",
    "ChatTopLogprob",
    "ChatUsage",
    "FinishReason",
    "FunctionCallDelta",
    "ModelCard",
    "ModelList",
    "ToolCallDelta",
]

FinishReason = Literal["stop", "length", "tool_calls"]


class ChatUsage(WireModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatTopLogprob(WireModel):
    """`bytes`: null where the token alone is no text (a part of a character)."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(ChatTopLogprob):
    top_logprobs: list[ChatTopLogprob]


class ChatLogprobs(WireModel):
    """By the model's logits before temperature, `top_p` and schema."""

    content: list[ChatTokenLogprob]


class ChatMessage(WireModel):
    """`content` is null where a function is called."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(WireModel):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(WireModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage


class FunctionCallDelta(WireModel):
    name: str | None = None
    arguments: str


class ToolCallDelta(WireModel):
    """The first of a call carries its id and name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallDelta


class ChatDelta(WireModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(WireModel):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(WireModel):
    """One event of a stream. The one with `usage` has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: ChatUsage | None = None


class ModelCard(WireModel):
    """`created`: when the server started, in seconds since 1970. As vLLM tells of adapters, `root` is what the name
    stands for and `parent` the base below an adapter."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["fintunnel"]
    root: str
    parent: str | None


class ModelList(WireModel):
    object: Literal["list"]
    data: list[ModelCard]

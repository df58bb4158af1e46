"""`/v1/chat/completions`: the messages of a conversation, as a request brings them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fintunnel.wire.model import StrictWireModel

__all__ = [
    "AssistantMessage",
    "ChatRequestMessage",
    "Content",
    "FunctionCall",
    "FunctionName",
    "SystemMessage",
    "Text",
    "TextPart",
    "ToolCall",
    "ToolMessage",
    "UserMessage",
]


class TextPart(StrictWireModel):
    type: Literal["text"]
    text: str = Field(max_length=32_000)


Text = Annotated[str, Field(max_length=32_000)]
Content = Text | Annotated[list[TextPart], Field(min_length=1, max_length=64)]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class SystemMessage(StrictWireModel):
    role: Literal["system", "developer"]
    content: Content


class UserMessage(StrictWireModel):
    role: Literal["user"]
    content: Content


class FunctionCall(StrictWireModel):
    """`arguments`: JSON, as the model wrote it."""

    name: FunctionName
    arguments: Text


class ToolCall(StrictWireModel):
    id: str = Field(max_length=200)
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(StrictWireModel):
    """What an earlier answer was. The fields that are always null are in what OpenAI's SDK makes of an answer."""

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=32)] | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None


class ToolMessage(StrictWireModel):
    """`name` (which instructor sends): the function's, where no earlier message has the call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str = Field(max_length=200)
    name: FunctionName | None = None


ChatRequestMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]

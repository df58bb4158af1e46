"""`/v1/chat/completions`, what is asked: OpenAI's shape, as far as it is served.

A field that is not here gets 422, as does a value that OpenAI allows and this server does not; `null` counts as absent.
What JSON Schema can say of these rules stands in the schema, so that a client can check a request before sending it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

from fintunnel.openai_wire.messages import ChatRequestMessage, FunctionName, Text
from fintunnel.wire.analysis import DEFAULT_MODEL_NAME
from fintunnel.wire.model import NOT_GUESSED, StrictWireModel
from fintunnel.wire.nesting import levels

__all__ = [
    "ChatRequest",
    "ChatTool",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "NamedToolChoice",
    "StreamOptions",
    "TextFormat",
]


_DEEPEST = 64


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    if any(depth > _DEEPEST for depth, _ in enumerate(levels(schema), 1)):
        raise PydanticCustomError("rule", "嵌套得太深")
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise PydanticCustomError("rule", "里面有 JSON 里不能有的值") from None
    return schema


JsonSchema = Annotated[dict[str, Any], AfterValidator(_sendable)]


class StreamOptions(StrictWireModel):
    include_usage: bool | None = None


class TextFormat(StrictWireModel):
    type: Literal["text"]


class JsonObjectFormat(StrictWireModel):
    type: Literal["json_object"]


class NamedSchema(StrictWireModel):
    """`strict` changes nothing: a schema is always kept to."""

    name: FunctionName
    schema_: JsonSchema = Field(alias="schema")
    description: Text | None = None
    strict: bool | None = None


class JsonSchemaFormat(StrictWireModel):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class FunctionTool(StrictWireModel):
    """`strict` changes nothing: the parameters' schema is always kept to. Without one there are no parameters."""

    name: FunctionName
    description: Text | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class ChatTool(StrictWireModel):
    type: Literal["function"]
    function: FunctionTool


class NamedFunction(StrictWireModel):
    name: FunctionName


class NamedToolChoice(StrictWireModel):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "required"] | NamedToolChoice


def _given(field: str) -> dict[str, Any]:
    """JSON Schema: the field is there and not null."""
    return {"properties": {field: {"not": {"type": "null"}}}, "required": [field]}


_RULES: Any = {
    "allOf": [
        {
            "if": _given("top_logprobs"),
            "then": {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]},
        },
        {
            "if": _given("stream_options"),
            "then": {"properties": {"stream": {"const": True}}, "required": ["stream"]},
        },
        {"if": _given("tools"), "then": _given("tool_choice")},
        {
            "if": {"properties": {"tool_choice": {"not": {"enum": ["none", None]}}}, "required": ["tool_choice"]},
            "then": _given("tools"),
        },
    ]
}


class ChatRequest(StrictWireModel):
    """A conversation to continue."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_RULES)

    model: str | None = Field(
        default=None, max_length=200, description=f'"{DEFAULT_MODEL_NAME}" (the default model), an adapter, or "base"'
    )
    messages: list[ChatRequestMessage] = Field(min_length=1, max_length=64)
    max_tokens: Annotated[int, Field(ge=1, le=2048, strict=False), NOT_GUESSED] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2048, strict=False), NOT_GUESSED] | None = Field(
        default=None, description="wins over `max_tokens`"
    )
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False, description="default 0: greedy")
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=False), NOT_GUESSED] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=200)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=4)]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(default=None, description="with `stream` only")
    n: Annotated[int, Field(ge=1, le=1, strict=False), NOT_GUESSED] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20, strict=False), NOT_GUESSED] | None = Field(
        default=None, description="with `logprobs` only"
    )
    response_format: ResponseFormat | None = None
    tools: Annotated[list[ChatTool], Field(min_length=1, max_length=32)] | None = None
    tool_choice: ToolChoice | None = Field(
        default=None,
        validate_default=True,
        description="asked for with `tools`; the model does not decide by itself whether to call one",
    )
    parallel_tool_calls: Literal[False] | None = None

    @field_validator("stream_options")
    @classmethod
    def _of_a_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise PydanticCustomError("rule", "要与 stream=true 一起用")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _of_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise PydanticCustomError("rule", "要与 logprobs=true 一起用")
        return value

    @field_validator("tool_choice", mode="wrap")
    @classmethod
    def _of_tools(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> ToolChoice | None:
        tools = info.data.get("tools")
        if tools is not None and value in (None, "auto"):
            raise PydanticCustomError(
                "rule", '模型不会自己决定要不要调用函数。请给出 "none"、"required" 或要调用的函数名'
            )
        choice: ToolChoice | None = check(value)
        if choice not in (None, "none") and tools is None:
            raise PydanticCustomError("rule", "要与 tools 一起用")
        if isinstance(choice, NamedToolChoice):
            if choice.function.name not in {tool.function.name for tool in tools or []}:
                raise PydanticCustomError("rule", "这个函数不在 tools 里")
        return choice

"""A chat request as the model is asked it: the conversation in three roles, and the JSON that the reply has to be.

Chat templates of base models know system, user and assistant, and many demand that they alternate. So function calls
and their results become text, neighbours of one role are joined, and the JSON that is asked for is told in the system
message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fintunnel.openai_wire import (
    AssistantMessage,
    ChatRequest,
    ChatRequestMessage,
    ChatTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedToolChoice,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from fintunnel.prompt import Message

__all__ = ["WantedJson", "chat_messages", "wanted_json"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class WantedJson:
    """`functions`: of which one is to be called, none where the JSON itself is the answer. Of a single one the reply is
    the arguments, of several `{"name": …, "arguments": …}`. `told`: what the model is told. `param`: the request's
    field that asks for it."""

    schema: Mapping[str, object]
    told: str
    functions: Sequence[str]
    param: str


def wanted_json(request: ChatRequest) -> WantedJson | None:
    """None where any text will do."""
    if request.tools is not None and request.tool_choice not in (None, "none"):
        tools = request.tools
        if isinstance(request.tool_choice, NamedToolChoice):
            name = request.tool_choice.function.name
            tools = [tool for tool in tools if tool.function.name == name][:1]
        return _call(tools)
    match request.response_format:
        case JsonObjectFormat():
            return WantedJson({"type": "object"}, "只输出一个 JSON 对象。", (), "response_format")
        case JsonSchemaFormat(json_schema=wanted):
            about = f"（{wanted.description}）" if wanted.description else ""
            told = f"只输出 JSON{about}，符合这个 JSON Schema：{_encode(wanted.schema_)}"
            return WantedJson(wanted.schema_, told, (), "response_format")
    return None


def _call(tools: Sequence[ChatTool]) -> WantedJson:
    names = [tool.function.name for tool in tools]
    if len(tools) == 1:
        schema = _encode(_parameters(tools[0]))
        told = f"调用函数 {_described(tools[0])}只输出它的参数：JSON，符合这个 JSON Schema：{schema}"
        return WantedJson(_parameters(tools[0]), told, names, "tools")
    shown = "\n".join(f"- {_described(tool)}参数的 JSON Schema：{_encode(_parameters(tool))}" for tool in tools)
    told = f'从这些函数里选一个来调用，只输出 {{"name":"函数名","arguments":参数}}：\n{shown}'
    definitions = {f"call{number}": _moved(_parameters(tool), number) for number, tool in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/call{number}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, name in enumerate(names)
    ]
    return WantedJson({"anyOf": calls, "$defs": definitions}, told, names, "tools")


def _described(tool: ChatTool) -> str:
    return (
        f"{tool.function.name}：{tool.function.description}\n"
        if tool.function.description
        else f"{tool.function.name}。"
    )


def _parameters(tool: ChatTool) -> dict[str, Any]:
    none: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    return none if tool.function.parameters is None else tool.function.parameters


def _moved(schema: Any, number: int) -> Any:
    """A schema whose references to itself still hold where it stands under `$defs`."""
    if isinstance(schema, dict):
        return {name: _moved_part(name, below, number) for name, below in schema.items()}
    return [_moved(below, number) for below in schema] if isinstance(schema, list) else schema


def _moved_part(name: str, below: Any, number: int) -> Any:
    if name in ("const", "enum", "default", "examples"):  # values, in which "$ref" is a word like another
        return below
    if name == "$ref" and isinstance(below, str) and (below == "#" or below.startswith("#/")):
        return f"#/$defs/call{number}{below[1:]}"
    return _moved(below, number)


def chat_messages(request: ChatRequest, wanted: WantedJson | None) -> list[Message]:
    functions = {
        call.id: call.function.name
        for message in request.messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls or []
    }
    messages: list[Message] = [_message(message, functions) for message in request.messages]
    if wanted is not None:
        if messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": ""})
        messages[0]["content"] = _joined(messages[0]["content"], wanted.told)
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1]["content"] = _joined(merged[-1]["content"], message["content"])
        else:
            merged.append(message)
    return merged


def _message(message: ChatRequestMessage, functions: Mapping[str, str]) -> Message:
    text = _text(message.content)
    match message:
        case SystemMessage():
            return {"role": "system", "content": text}
        case UserMessage():
            return {"role": "user", "content": text}
        case ToolMessage(tool_call_id=number, name=name):
            return {"role": "user", "content": f"函数 {functions.get(number) or name or '调用'} 的结果：{text}"}
        case AssistantMessage(tool_calls=calls):
            called = [f"调用函数 {call.function.name}，参数：{call.function.arguments}" for call in calls or []]
            return {"role": "assistant", "content": _joined(text, *called)}


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content)


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)

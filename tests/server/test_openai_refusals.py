"""What `/v1` does not serve is refused with the field's name; what fails too late for that ends the stream."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fintunnel.wire import ErrorBody
from fintunnel_server.errors import SamplingRejected, SchemaRejected

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app
from tests.server.chat_requests import chat, tool


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    body = ErrorBody.model_validate(response.json()).error
    return response.status_code, body.code.value, body.param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x", "name": "n"}]}, "messages.0.user.name"),
        ({"messages": [{"role": "user", "content": []}]}, None),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool.tool_call_id"),
        ({"frequency_penalty": 0}, "frequency_penalty"),
        ({"n": 2}, "n"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, None),
        ({"stop": ""}, None),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": [tool("f")]}, "tool_choice"),
        ({"tools": [tool("f")], "tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": [tool("f g")], "tool_choice": "required"}, "tools.0.function.name"),
        ({"tools": [tool("f")], "tool_choice": "none", "parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.json_schema"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ],
)
def test_what_is_not_served_is_refused(live_app: LiveApp, fields: dict[str, Any], param: str | None) -> None:
    status, code, where = error(chat(live_app, **fields))
    assert (status, code) == (422, "invalid_request") and (param is None or where == param)


def test_what_the_engine_refuses_names_the_field(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.failure = SchemaRejected("不支持这个 JSON Schema")
    for stream in (False, True):
        wanted = {"response_format": {"type": "json_object"}, "stream": stream}
        assert error(chat(live_app, **wanted)) == (422, "invalid_request", "response_format")
        called = {"tools": [tool("f")], "tool_choice": "required", "stream": stream}
        assert error(chat(live_app, **called)) == (422, "invalid_request", "tools")
    engine.failure = SamplingRejected("上游不给出 logprobs", param="logprobs")
    assert error(chat(live_app, logprobs=True)) == (422, "invalid_request", "logprobs")


def test_a_stream_that_takes_too_long_ends_with_an_error(engine: InstantEngine) -> None:
    engine.delay, engine.endless = 0.02, True
    with run_app(engine, api_key="right-key", request_timeout=0.4) as app:
        answer = chat(app, stream=True)
    last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "deadline_exceeded" and engine.open_now == 0

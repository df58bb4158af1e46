"""What `/v1` serves, in OpenAI's shape, around an engine that answers at once."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fintunnel.openai_wire import ChatRequest
from fintunnel.prompt import Message
from fintunnel_server.chat.prompt import chat_messages, wanted_json

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp
from tests.server.chat_requests import SCHEMA, USER, chat, tool

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def chunks(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
    *events, done = [block.removeprefix("data: ") for block in response.text.strip().split("\n\n")]
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


def test_a_reply_has_openais_shape(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.text = "  金价。"
    answer = chat(live_app).json()
    assert answer["id"].startswith("chatcmpl-") and answer["object"] == "chat.completion"
    message = {"role": "assistant", "content": "金价。"}  # templates let replies begin with a space
    assert answer["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert answer["model"] == "fintunnel" and answer["usage"]["total_tokens"] == 2 + len(engine.text)


def test_a_stream_has_openais_shape(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.text = "金价"
    given = chunks(chat(live_app, stream=True, model="tuned"))
    assert {chunk["object"] for chunk in given} == {"chat.completion.chunk"} and {c["model"] for c in given} == {
        "tuned"
    }
    assert len({chunk["id"] for chunk in given}) == 1 and not any("usage" in chunk for chunk in given)
    choices = [chunk["choices"][0] for chunk in given]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "金"},
        {"content": "价"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    given = chunks(chat(live_app, stream=True, stream_options={"include_usage": True}, max_tokens=1))
    assert given[-2]["choices"][0]["finish_reason"] == "length" and given[-2]["usage"] is None
    assert given[-1]["choices"] == []
    assert given[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}


def test_what_is_asked_reaches_the_engine(live_app: LiveApp, engine: InstantEngine) -> None:
    chat(live_app, temperature=0.5, top_p=0.9, seed=7, logprobs=True, top_logprobs=2)
    [sampling] = engine.samplings
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.top_logprobs) == (0.5, 0.9, 7, 2)
    chat(live_app, temperature=None, top_p=None, seed=None, logprobs=None, stop=None, tools=None, max_tokens=None)
    [sampling] = engine.samplings
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.top_logprobs) == (0, 1, None, None)


def test_logprobs_come_with_each_token(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.text = "金价"
    [choice] = chat(live_app, logprobs=True, top_logprobs=1).json()["choices"]
    first = {"token": "金", "logprob": -0.5, "bytes": list("金".encode())}
    assert choice["logprobs"]["content"][0] == first | {"top_logprobs": [first]}
    streamed = [chunk["choices"][0] for chunk in chunks(chat(live_app, logprobs=True, stream=True))]
    told = [token["token"] for choice in streamed if choice["logprobs"] for token in choice["logprobs"]["content"]]
    assert told == ["金", "价"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_reply_and_the_work(live_app: LiveApp, engine: InstantEngine, stream: bool) -> None:
    engine.text = "利率上行。END" + "金" * 500
    answer = chat(live_app, stop=["END", "X"], stream=stream, logprobs=True)
    if stream:
        choices = [chunk["choices"][0] for chunk in chunks(answer)]
        text = "".join(choice["delta"].get("content", "") for choice in choices)
        assert (text, choices[-1]["finish_reason"]) == ("利率上行。", "stop")
        return
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "利率上行。" and body["choices"][0]["finish_reason"] == "stop"
    assert len(body["choices"][0]["logprobs"]["content"]) == 5 and body["usage"]["completion_tokens"] == 8


def test_a_schema_is_told_to_the_model_and_counted(live_app: LiveApp, engine: InstantEngine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    answer = chat(live_app, response_format=wanted).json()
    assert answer["choices"][0]["message"]["content"] == '{"a":1}' and engine.samplings[0].json_schema == SCHEMA
    assert answer["usage"]["prompt_tokens"] > 2 + len(json.dumps(SCHEMA, separators=(",", ":")))
    chat(live_app, response_format={"type": "json_object"})
    assert engine.samplings[0].json_schema == {"type": "object"}
    chat(live_app, response_format={"type": "text"})
    assert engine.samplings[0].json_schema is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tools", [[tool("f")], [tool("f"), tool("g")]])
def test_a_function_is_called(live_app: LiveApp, engine: InstantEngine, tools: list[Any], stream: bool) -> None:
    engine.json = '{"a":1}' if len(tools) == 1 else '{"name":"f","arguments":{"a":1}}'
    answer = chat(
        live_app, tools=tools, tool_choice="required", parallel_tool_calls=False, stream=stream, logprobs=True
    )
    if stream:
        choices = [chunk["choices"][0] for chunk in chunks(answer)]
        assert choices[0]["delta"] == {"role": "assistant", "content": None}
        [first, *others] = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
        assert first["index"] == 0 and first["type"] == "function" and first["id"].startswith("call_")
        assert first["function"] == {"name": "f", "arguments": ""}
        arguments = "".join(call["function"]["arguments"] for call in others)
        assert all(call.keys() == {"index", "function"} for call in others)
    else:
        [choice] = choices = answer.json()["choices"]
        [call] = choice["message"]["tool_calls"]
        assert choice["message"]["content"] is None and choice["logprobs"] is None
        assert call["function"]["name"] == "f" and call["id"].startswith("call_")
        arguments = call["function"]["arguments"]
    assert json.loads(arguments) == {"a": 1} and choices[-1]["finish_reason"] == "tool_calls"


def test_a_call_that_is_cut_off_before_its_name_is_none(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.json = '{"name":"f","arguments":{"a":1}}'
    for stream in (False, True):
        answer = chat(live_app, tools=[tool("f"), tool("g")], tool_choice="required", max_tokens=5, stream=stream)
        [*_, last] = [chunk["choices"][0] for chunk in chunks(answer)] if stream else answer.json()["choices"]
        assert last["finish_reason"] == "length" and "tool_calls" not in last.get("message", last.get("delta"))


def told(**fields: Any) -> list[Message]:
    request = ChatRequest.model_validate({"messages": USER, **fields})
    return chat_messages(request, wanted_json(request))


def test_a_history_with_functions_becomes_text_in_turns() -> None:
    messages = [
        {"role": "developer", "content": "甲"},
        {"role": "system", "content": [{"type": "text", "text": "乙"}, {"type": "text", "text": "丙"}]},
        {"role": "user", "content": "问"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
        {"role": "user", "content": "再问"},
    ]
    assert told(messages=messages) == [
        {"role": "system", "content": "甲\n\n乙\n丙"},
        {"role": "user", "content": "问"},
        {"role": "assistant", "content": '调用函数 f，参数：{"a":1}'},
        {"role": "user", "content": "函数 f 的结果：7\n\n再问"},
    ]


def test_references_of_several_functions_stay_their_own() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}}
    tools = [tool("f", parameters=schema), tool("g", parameters={"type": "object"}), tool("h", parameters=None)]
    wanted = wanted_json(ChatRequest.model_validate({"messages": USER, "tools": tools, "tool_choice": "required"}))
    assert wanted is not None and wanted.functions == ["f", "g", "h"]
    definitions: Any = wanted.schema["$defs"]
    assert definitions["call0"]["properties"]["a"]["$ref"] == "#/$defs/call0/$defs/A"
    assert wanted_json(ChatRequest.model_validate({"messages": USER, "tools": tools, "tool_choice": "none"})) is None
    values = {"type": "object", "properties": {"k": {"const": {"$ref": "#/z"}}, "l": {"enum": [{"$ref": "#a"}]}}}
    tools = [tool("f", parameters=values), tool("g", parameters=values)]
    wanted = wanted_json(ChatRequest.model_validate({"messages": USER, "tools": tools, "tool_choice": "required"}))
    assert wanted is not None
    definitions = wanted.schema["$defs"]
    assert definitions["call0"] == values  # values are no references

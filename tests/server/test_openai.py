"""`/v1` in OpenAI's shape, around an engine that answers at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from fintunnel.prompt import Message
from fintunnel.wire import ChatRequest, ErrorBody
from fintunnel_server.chat.prompt import chat_messages, wanted_json
from fintunnel_server.errors import EngineBusy, SamplingRejected, SchemaRejected
from pydantic import BaseModel

from tests.instant_engine import InstantConversation, InstantEngine
from tests.live_app import LiveApp, run_app

USER: Any = [{"role": "user", "content": "你好"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


def chat(app: LiveApp, **fields: Any) -> httpx.Response:
    return app.post("/v1/chat/completions", json={"messages": USER, **fields})


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    body = ErrorBody.model_validate(response.json()).error
    return response.status_code, body.code.value, body.param


def chunks(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
    *events, done = [block.removeprefix("data: ") for block in response.text.strip().split("\n\n")]
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


@pytest.fixture
def client(live_app: LiveApp) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live_app.url}/v1", api_key="right-key", max_retries=0) as client:
        yield client


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


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fintunnel", "tuned", "base"]
    assert client.models.retrieve("tuned").created == client.models.retrieve("base").created > 1_700_000_000
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("gpt-4")
    assert unknown.value.code == "unknown_model"


def test_a_full_queue_is_the_sdks_rate_limit(client: openai.OpenAI, engine: InstantEngine) -> None:
    engine.failure = EngineBusy("排队已满", retry_after=3.2)
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as busy:
            client.chat.completions.create(model="fintunnel", messages=USER, stream=stream)
        assert busy.value.response.headers["retry-after"] == "4"


def test_an_error_in_a_stream_is_raised_by_the_sdk(
    client: openai.OpenAI, engine: InstantEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = InstantConversation.reply

    async def broken(self: InstantConversation, **options: Any) -> Any:
        async for piece in plain(self, **options):
            yield piece
            raise RuntimeError("secret detail")

    monkeypatch.setattr(InstantConversation, "reply", broken)
    pieces = []
    with pytest.raises(openai.APIError, match="日志里的编号") as failed:
        for event in client.chat.completions.create(model="fintunnel", messages=USER, stream=True):
            pieces.append(event.choices[0].delta.content)
    assert pieces == ["", engine.text[0]] and "secret" not in str(failed.value)


def test_a_stream_that_takes_too_long_ends_with_an_error(engine: InstantEngine) -> None:
    engine.delay, engine.endless = 0.02, True
    with run_app(engine, api_key="right-key", request_timeout=0.4) as app:
        answer = chat(app, stream=True)
    last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "deadline_exceeded" and engine.open_now == 0


def test_a_quiet_stream_is_kept_open(
    live_app: LiveApp, engine: InstantEngine, monkeypatch: pytest.MonkeyPatch, client: openai.OpenAI
) -> None:
    monkeypatch.setattr("fintunnel_server.running.streaming._ALIVE_SECONDS", 0.05)
    engine.text, engine.delay = "金", 0.2
    assert chat(live_app, stream=True).text.startswith(": alive\n\n")
    events = list(client.chat.completions.create(model="fintunnel", messages=USER, stream=True))
    assert events[1].choices[0].delta.content == "金"
    engine.failure = EngineBusy("排队已满")


class View(BaseModel):
    a: int


def test_instructor_reads_plain_json(client: openai.OpenAI, engine: InstantEngine) -> None:
    """In this mode instructor asks for any JSON and describes the schema itself."""
    import instructor

    patched = instructor.from_openai(client, mode=instructor.Mode.JSON)
    assert patched.chat.completions.create(model="fintunnel", messages=USER, response_model=View).a == 1
    assert engine.samplings[0].json_schema == {"type": "object"}


def test_instructor_asks_again_in_the_same_conversation(client: openai.OpenAI, engine: InstantEngine) -> None:
    import instructor
    from instructor.core.exceptions import InstructorRetryException

    engine.json = '{"a":"no number"}'
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        engine.samplings.clear()
        asked = len(engine.calls)
        patched = instructor.from_openai(client, mode=mode)
        with pytest.raises(InstructorRetryException, match="no number"):
            patched.chat.completions.create(model="fintunnel", messages=USER, response_model=View, max_retries=2)
        assert len(engine.calls) - asked >= 2  # not refused

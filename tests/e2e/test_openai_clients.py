"""Other people's clients, unmodified, against the real model behind the real app."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from fintunnel_server.loading import load_local_engine
from pydantic import BaseModel, Field

from tests.live_app import LiveApp, run_app

pytestmark = pytest.mark.e2e

HEADLINE = "美联储宣布加息25个基点"
USER: Any = [{"role": "user", "content": HEADLINE}]


class View(BaseModel):
    """对一条快讯的看法"""

    direction: Literal["利空", "中性", "利好"] = Field(description="对黄金的方向")
    impact: Literal["低", "中", "高"]
    priced_in: bool = Field(description="预期是否已兑现")


@pytest.fixture(scope="module")
def app() -> Iterator[LiveApp]:
    engine = load_local_engine("embedded", {})
    with run_app(engine, api_key="right-key") as app:
        yield app


@pytest.fixture
def client(app: LiveApp) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{app.url}/v1", api_key="right-key", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LANGSMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)


# --- the openai SDK -----------------------------------------------------------------------------------------------


def test_a_reply_and_its_stream_are_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="fintunnel", messages=USER, max_tokens=12)
    events = list(
        client.chat.completions.create(
            model="fintunnel", messages=USER, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == whole.choices[0].message.content and text
    assert events[0].choices[0].delta.role == "assistant" and events[-2].choices[0].finish_reason == "length"
    assert events[-1].choices == [] and events[-1].usage == whole.usage
    assert whole.usage is not None and whole.usage.completion_tokens == 12


def test_many_ask_at_once(app: LiveApp, client: openai.OpenAI) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{app.url}/v1", api_key="right-key", max_retries=0) as asking:

            async def whole() -> str | None:
                reply = await asking.chat.completions.create(model="base", messages=USER, max_tokens=6)
                return reply.choices[0].message.content

            async def stream() -> str:
                events = await asking.chat.completions.create(model="base", messages=USER, max_tokens=6, stream=True)
                return "".join([event.choices[0].delta.content or "" async for event in events])

            return await asyncio.gather(whole(), *(stream() for _ in range(4)))

    alone = client.chat.completions.create(model="base", messages=USER, max_tokens=6).choices[0].message.content
    given = asyncio.run(ask())
    assert len(given) == 5 and given.count(alone) >= 4  # in bf16 a pass of other rows may tip a near tie


def test_logprobs_are_of_the_tokens_that_were_chosen(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="fintunnel", messages=USER, max_tokens=10, logprobs=True, top_logprobs=3
    )
    [choice] = reply.choices
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 10
    for token in choice.logprobs.content:
        assert [other.logprob for other in token.top_logprobs] == sorted(
            (other.logprob for other in token.top_logprobs), reverse=True
        )
        assert token.logprob == token.top_logprobs[0].logprob <= 0  # greedy
        assert token.bytes is None or bytes(token.bytes).decode() == token.token


def test_a_seed_repeats_a_sample(client: openai.OpenAI) -> None:
    def sample(seed: int) -> str | None:
        reply = client.chat.completions.create(
            model="fintunnel", messages=USER, max_tokens=8, temperature=1.2, top_p=0.9, seed=seed
        )
        return reply.choices[0].message.content

    assert sample(1) == sample(1) != sample(2)


def test_a_stop_string_ends_the_reply_before_it(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="fintunnel", messages=USER, max_tokens=24)
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 :][:2]
    reply = client.chat.completions.create(model="fintunnel", messages=USER, max_tokens=24, stop=["绝不会出现", stop])
    assert reply.choices[0].message.content == text[: text.index(stop)] and reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None and whole.usage is not None
    assert 0 < reply.usage.completion_tokens <= whole.usage.completion_tokens


def test_a_schema_is_kept(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model="fintunnel", messages=USER, max_tokens=60, response_format=View)
    assert isinstance(parsed.choices[0].message.parsed, View) and parsed.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(
        model="fintunnel", messages=USER, max_tokens=3, response_format={"type": "json_object"}
    )
    assert short.choices[0].finish_reason == "length" and (short.choices[0].message.content or "").startswith("{")


def test_functions_are_called(client: openai.OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(View, name=name) for name in ("record_view", "send_view")]
    named: Any = {"type": "function", "function": {"name": "send_view"}}
    for choice in (named, "required"):
        reply = client.chat.completions.create(
            model="fintunnel", messages=USER, max_tokens=80, tools=tools, tool_choice=choice
        )
        [call] = reply.choices[0].message.tool_calls or []
        assert call.type == "function" and call.function.name in ("record_view", "send_view")
        View.model_validate_json(call.function.arguments)
        assert reply.choices[0].message.content is None and reply.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(
        model="fintunnel", messages=USER, max_tokens=80, tools=tools, tool_choice=named
    ) as stream:
        final = stream.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls or []
    assert streamed.function.name == "send_view" and streamed.function.parsed_arguments is not None
    history: Any = [
        *USER,
        reply.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "已记录"},
    ]
    told = client.chat.completions.create(
        model="fintunnel", messages=history, max_tokens=4, tools=tools, tool_choice="none"
    )
    assert told.choices[0].message.content and told.choices[0].message.tool_calls is None


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fintunnel", "base"]
    assert client.models.retrieve("base").owned_by == "fintunnel"


def test_errors_are_the_sdks_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="可用的是"):
        client.models.retrieve("gpt-5")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-5", messages=USER)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model="fintunnel", messages=USER, frequency_penalty=1)
    assert refused.value.param == "frequency_penalty" and refused.value.request_id
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="fintunnel", messages=USER)


# --- LangChain ----------------------------------------------------------------------------------------------------


def test_langchain(app: LiveApp) -> None:
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI

    options: Any = {"base_url": f"{app.url}/v1", "api_key": "right-key", "model": "fintunnel", "max_retries": 0}
    chat = ChatOpenAI(**options, max_tokens=8, temperature=0)
    asked = [SystemMessage("用中文回答"), HumanMessage(HEADLINE)]
    whole = chat.invoke(asked)
    assert whole.content and whole.usage_metadata is not None and whole.usage_metadata["output_tokens"] == 8
    assert "".join(str(piece.content) for piece in chat.stream(asked)) == whole.content
    methods: tuple[Literal["json_schema", "function_calling"], ...] = ("json_schema", "function_calling")
    for method in methods:
        structured = ChatOpenAI(**options, max_tokens=60).with_structured_output(View, method=method)
        assert isinstance(structured.invoke(HEADLINE), View)


# --- instructor ---------------------------------------------------------------------------------------------------


def test_instructor(client: openai.OpenAI) -> None:
    import instructor

    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        patched = instructor.from_openai(client, mode=mode)
        view = patched.chat.completions.create(
            model="fintunnel", messages=USER, max_tokens=60, response_model=View, max_retries=0
        )
        assert isinstance(view, View)


# --- llm ----------------------------------------------------------------------------------------------------------


def test_llm(app: LiveApp, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: mine\n  model_name: fintunnel\n  api_base: {app.url}/v1\n"
        "  api_key_name: fintunnel\n  supports_schema: true\n",
        encoding="utf-8",
    )
    (tmp_path / "keys.json").write_text('{"fintunnel": "right-key"}', encoding="utf-8")
    # The package that carries the embedded base is a plugin of llm's, and cannot be loaded as one without llama.cpp.
    environment = os.environ | {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": "", "PYTHONUTF8": "1"}

    def llm(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "mine", "-n", *arguments],
            capture_output=True,
            encoding="utf-8",
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    streamed = llm(HEADLINE, "-o", "max_tokens", "8", "-o", "temperature", "0")
    assert streamed and streamed == llm(HEADLINE, "--no-stream", "-o", "max_tokens", "8")
    schema = {
        "type": "object",
        "properties": {"涨": {"type": "boolean"}},
        "required": ["涨"],
        "additionalProperties": False,
    }
    given = llm(HEADLINE, "--schema", json.dumps(schema))
    assert type(json.loads(given)["涨"]) is bool


def _documented() -> list[str]:
    return re.findall(
        r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "openai.md").read_text("utf-8"), re.S
    )


@pytest.mark.parametrize("number", range(len(_documented())))
def test_the_documents_examples_run(
    app: LiveApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    monkeypatch.setenv("FINTUNNEL_URL", app.url)
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")
    code = compile(_documented()[number], f"docs/openai.md, example {number}", "exec", dont_inherit=True)
    exec(code, {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()

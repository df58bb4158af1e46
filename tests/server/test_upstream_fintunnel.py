"""Another FinTunnel as the upstream, over its own `/v1`: it writes, so whole answers are asked for and validated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fintunnel.prompt import Message, render_news_answer, render_report_answer
from fintunnel.wire import ModelInfo, NewsRequest, Passage, ReportRequest, Timing, Usage
from fintunnel_server.analysis.generated_answer import generated_answer
from fintunnel_server.engine import AdapterInfo, EngineInfo, Field, Occupancy, Piece, Sampling, Scores, Work
from fintunnel_server.errors import SchemaRejected, SettingsError, UpstreamAnswerInvalid
from fintunnel_server.upstream import UpstreamEngine, start_upstream_engine
from pydantic import SecretStr

from tests.live_app import run_app

KEY = SecretStr("right-key")
NEWS = NewsRequest(text="美联储宣布加息25个基点")
REPORT = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])


class WritingEngine:
    """The upstream's model: answers our prompts in JSON, as a tuned one does, and anything else in prose."""

    info = EngineInfo(base="b", adapters={"tuned": AdapterInfo()}, default_adapter="tuned", context_tokens=1024)

    def __init__(self, news: str = "") -> None:
        self.news = news or render_news_answer("high", "bullish", None, "利率上行。")
        self.adapters: list[str | None] = []

    def count_tokens(self, messages: list[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[_WritingConversation]:
        del answer_tokens, shared
        self.adapters.append(adapter)
        asked = messages[-1]["content"]
        report = render_report_answer([0], "1亿元")
        yield _WritingConversation(self.news if "<news>" in asked else report if "<passages>" in asked else "好。")

    def occupancy(self) -> Occupancy:
        return Occupancy(running=0)

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class _WritingConversation:
    def __init__(self, text: str) -> None:
        self._text = text
        self.work = Work(prompt_tokens=10)

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        choices = [list(field.choices) for field in fields]
        return [Scores(labels[0], {label: 1 / len(labels) for label in labels}) for labels in choices]

    async def write(self, prefix: str, *, max_tokens: int, in_json_string: bool = False) -> AsyncIterator[str]:
        del prefix, in_json_string
        for piece in self._text[:max_tokens]:
            self.work.completion_tokens += 1
            yield piece

    async def reply(self, *, max_tokens: int, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        if sampling.json_schema is not None:
            raise SchemaRejected("not here")
        async for piece in self.write("", max_tokens=max_tokens):
            yield Piece(piece)

    async def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        del schema, max_tokens
        raise AssertionError("continues_answers is true")
        yield ""


async def answers(engine: UpstreamEngine, request: NewsRequest | ReportRequest) -> list[Any]:
    messages: list[Message] = [
        {"role": "user", "content": "<news>" if isinstance(request, NewsRequest) else "<passages>"}
    ]
    async with engine.open(messages, adapter="fintunnel", answer_tokens=256) as conversation:

        def common() -> dict[str, Any]:
            work = conversation.work
            return {
                "id": "ana-1",
                "model": ModelInfo(backend="finetuned", base="b", adapter="fintunnel", prompt_version=1),
                "usage": Usage(prompt_tokens=work.prompt_tokens, completion_tokens=work.completion_tokens),
                "timing_ms": Timing(queue=0.0, model=0.0, total=0.0),
            }

        parts = generated_answer(request, conversation, about=AdapterInfo(), common=common)
        return [part async for part in parts]


def test_a_second_fintunnel_writes_whole_answers() -> None:
    model = WritingEngine()

    async def ask(url: str) -> None:
        engine = await start_upstream_engine(url, "fintunnel", api_key=KEY)
        assert not engine.info.continues_answers
        await engine.check()
        labels, text, whole = await answers(engine, NEWS)
        assert (whole.impact, whole.direction, whole.impact_probs) == ("high", "bullish", None)
        assert text == whole.rationale == "利率上行。" and labels.rationale is None
        assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0
        cited, _, answered = await answers(engine, REPORT)
        assert cited.citations == [0] and answered.answer == "1亿元"
        async with engine.open([{"role": "user", "content": "你好"}], adapter="fintunnel", answer_tokens=9) as chat:
            assert "".join([piece async for piece in chat.write("", max_tokens=9)]) == "好。"
        await engine.close()

    with run_app(model, api_key="right-key") as app:
        asyncio.run(ask(app.url))
    assert set(model.adapters) == {"tuned"}


def test_its_refusals_are_told() -> None:
    async def ask(url: str) -> None:
        with pytest.raises(SettingsError, match="FINTUNNEL_UPSTREAM_API_KEY"):
            await start_upstream_engine(url, "fintunnel", api_key=SecretStr("wrong"))
        with pytest.raises(SettingsError):
            await start_upstream_engine(url, "unknown", api_key=KEY)
        engine = await start_upstream_engine(url, "fintunnel", api_key=KEY)
        with pytest.raises(UpstreamAnswerInvalid):
            await answers(engine, NEWS)
        await engine.close()

    with run_app(WritingEngine("我认为利好"), api_key="right-key") as app:
        asyncio.run(ask(app.url))

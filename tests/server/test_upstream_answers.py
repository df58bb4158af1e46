"""Answers through an upstream that behaves: scored, written, asked for as JSON, in the right amount and order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fintunnel.prompt import Message
from fintunnel.wire import Context, NewsAnalysis, NewsRequest, Passage, ReportAnswer, ReportRequest
from fintunnel_server.analysis.analyze import analyze
from fintunnel_server.analysis.generated_answer import answer_schema, generated_answer
from fintunnel_server.engine import AdapterInfo, Conversation, Field, Piece, Sampling, Work
from fintunnel_server.errors import SamplingRejected, SchemaRejected, UpstreamAnswerInvalid
from fintunnel_server.upstream import UpstreamEngine, start_upstream_engine

from tests.server.upstream_stand_in import NEWS_TOKENS, Reply, Upstream, delta, event, upstream_server

QUESTION: list[Message] = [{"role": "user", "content": "美联储宣布加息25个基点"}]
IMPACTS = Field('{"impact":"', {label: label + '","direction":"' for label in ("low", "medium", "high")})
RATIONALE = '{"impact":"high","direction":"bullish","signals":null,"rationale":"'
DIRECTIONS = Field(
    '{"impact":"high","direction":"',
    {label: label + '","signals":null,"rationale":"' for label in ("bearish", "neutral", "bullish")},
)


def run(upstream: Upstream, ask: Callable[[UpstreamEngine], Awaitable[Any]], **options: Any) -> Any:
    async def asked() -> Any:
        engine = await start_upstream_engine(upstream.url, "tuned", base_model="plain", **options)
        upstream.forget()
        try:
            return await ask(engine)
        finally:
            await engine.close()

    with upstream_server(upstream):
        return asyncio.run(asked())


@asynccontextmanager
async def conversation(engine: UpstreamEngine, adapter: str | None = "tuned") -> AsyncIterator[Conversation]:
    async with engine.open(QUESTION, adapter=adapter, answer_tokens=100) as opened:
        yield opened


async def score(engine: UpstreamEngine) -> Any:
    async with conversation(engine) as asked:
        return await asked.score([IMPACTS, DIRECTIONS])


def written(upstream: Upstream, prefix: str = RATIONALE, **options: Any) -> tuple[list[str], Work]:
    async def write(engine: UpstreamEngine) -> tuple[list[str], Work]:
        async with conversation(engine) as asked:
            return [piece async for piece in asked.write(prefix, **{"max_tokens": 20, **options})], asked.work

    result: tuple[list[str], Work] = run(upstream, write)
    return result


# --- scoring ----------------------------------------------------------------------------------------


def test_fields_are_scored_by_the_likeliest_tokens_in_one_round() -> None:
    upstream = Upstream(drip=0.05)
    impact, direction = run(upstream, score)
    assert impact.choice == "high" and impact.probabilities == pytest.approx(
        {"low": 1 / 8, "medium": 2 / 8, "high": 5 / 8}
    )
    assert direction.choice == "bullish"
    assert direction.probabilities == pytest.approx({"bearish": 1 / 6, "neutral": 2 / 6, "bullish": 3 / 6})
    assert upstream.most_in_flight == 2 and len(upstream.bodies) == 3  # one more for what follows the b
    for body in upstream.bodies:
        assert body["max_tokens"] == 1 and body["temperature"] == 0 and body["top_logprobs"] == 20
        assert body["continue_final_message"] is True and body["messages"][0] == QUESTION[0]


def test_without_a_choice_among_the_likeliest_the_upstream_chooses_and_there_are_no_probabilities() -> None:
    tokens = NEWS_TOKENS | {'{"impact":"': {"huge": 1.0}}
    impact, direction = run(Upstream(tokens=tokens), score)
    assert impact.choice == "high" and impact.probabilities is None  # the stand-in chooses the last
    assert direction.probabilities is not None
    unconfined, _ = run(Upstream(tokens=tokens, constraint=None), score)
    assert unconfined.choice == "low" and unconfined.probabilities is None


def test_without_logprobs_choices_are_constrained() -> None:
    for constraint in ("structured_outputs", "guided_choice"):
        upstream = Upstream(most_logprobs=0, constraint=constraint)
        impact, direction = run(upstream, score)
        assert (impact.choice, impact.probabilities, direction.choice) == ("high", None, "bullish")
        assert all(constraint in body for body in upstream.bodies)


def test_a_choice_outside_the_given_ones_is_an_error() -> None:
    upstream = Upstream(most_logprobs=0)

    async def lied(engine: UpstreamEngine) -> None:
        upstream.constraint = None
        await score(engine)

    with pytest.raises(UpstreamAnswerInvalid):
        run(upstream, lied)


def test_a_whole_analysis() -> None:
    async def ask(engine: UpstreamEngine) -> list[Any]:
        request = NewsRequest(text="加息25个基点")
        return [part async for part in analyze(request, engine, adapter="tuned", max_prompt_tokens=1000)]

    upstream = Upstream()
    labels, *pieces, whole = run(upstream, ask)
    assert isinstance(whole, NewsAnalysis) and (whole.impact, whole.rationale) == ("high", "利率上行。")
    assert pieces == ["利率", "上行", "。"] and labels.rationale is None
    assert whole.impact_probs == pytest.approx({"low": 1 / 8, "medium": 2 / 8, "high": 5 / 8})
    scored = upstream.prompt_tokens(upstream.bodies[0])
    assert whole.usage.prompt_tokens <= scored and whole.usage.completion_tokens == 4
    assert (whole.model.base, whole.model.adapter) == ("plain", "tuned")


def test_the_base_is_asked_under_its_own_name() -> None:
    async def ask(engine: UpstreamEngine) -> None:
        assert engine.info.has_base
        for adapter in ("tuned", None):
            async with conversation(engine, adapter) as asked:
                await asked.score([IMPACTS])

    upstream = Upstream()
    run(upstream, ask)
    assert [body["model"] for body in upstream.bodies] == ["tuned", "plain"]


# --- writing ----------------------------------------------------------------------------------------


def test_a_string_ends_at_its_closing_quote_and_the_upstream_is_left() -> None:
    tokens = NEWS_TOKENS | {"。": {'\\"好\\"\\n\\u91d1"} and': 1.0}, "and": {" more": 1.0}, "more": {" more": 1.0}}
    upstream = Upstream(tokens=tokens, drip=0.01)

    async def write(engine: UpstreamEngine) -> tuple[list[str], Work]:
        async with conversation(engine) as asked:
            pieces = [p async for p in asked.write(RATIONALE, max_tokens=500, in_json_string=True)]
            assert await asyncio.to_thread(upstream.disconnected.wait, 5)
            return pieces, asked.work

    pieces, work = run(upstream, write)
    assert "".join(pieces) == '利率上行。"好" 金' and len(pieces) == 4
    assert work.finish_reason == "stop" and work.completion_tokens == 4
    assert upstream.pieces_sent < 100


def test_text_is_given_as_it_comes_and_counted() -> None:
    pieces, work = written(Upstream())
    assert "".join(pieces) == '利率上行。"}' and len(pieces) == 4
    assert (work.completion_tokens, work.finish_reason) == (4, "stop") and work.prompt_tokens > 10
    pieces, work = written(Upstream(), max_tokens=2)
    assert "".join(pieces) == "利率上行" and work.finish_reason == "length"


def replied(upstream: Upstream, sampling: Sampling) -> list[Piece]:
    async def reply(engine: UpstreamEngine) -> list[Piece]:
        async with conversation(engine) as asked:
            return [piece async for piece in asked.reply(max_tokens=20, sampling=sampling)]

    result: list[Piece] = run(upstream, reply)
    return result


def test_how_a_reply_is_sampled_is_passed() -> None:
    upstream = Upstream()
    replied(upstream, Sampling(temperature=0.7, top_p=0.5, seed=11))
    sent = upstream.bodies[0]
    assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.7, 0.5, 11)
    assert sent["messages"] == QUESTION and not sent.keys() & {"continue_final_message", "logprobs", "response_format"}
    replied(upstream, Sampling())
    assert not upstream.bodies[0].keys() & {"seed", "top_p"}


def test_logprobs_of_a_reply_are_read() -> None:
    upstream = Upstream(streams=False)
    [piece] = replied(upstream, Sampling(top_logprobs=2))
    assert upstream.bodies[0]["top_logprobs"] == 2 and piece.tokens[0].logprob == pytest.approx(0.0)
    with pytest.raises(SamplingRejected):
        replied(Upstream(most_logprobs=0), Sampling(top_logprobs=2))
    with pytest.raises(SamplingRejected):
        replied(Upstream(most_logprobs=5), Sampling(top_logprobs=6))


def test_a_schema_is_passed_to_who_keeps_it() -> None:
    wanted = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}
    upstream = Upstream(keeps_schema=True)
    assert "".join(piece.text for piece in replied(upstream, Sampling(json_schema=wanted))) == '{"a":"x"}'
    assert upstream.bodies[0]["response_format"]["json_schema"]["schema"] == wanted
    with pytest.raises(SchemaRejected):  # one that takes the field and ignores it
        replied(Upstream(), Sampling(json_schema=wanted))


@pytest.mark.parametrize("text", ["一", "一 二 三"])
def test_servers_that_do_not_count_or_not_stream_are_still_read(text: str) -> None:
    for upstream in (
        Upstream(continues="never", text=text, counts=False),
        Upstream(continues="never", text=text, streams=False),
        Upstream(continues="never", text=text, accepts=set()),
    ):
        pieces, work = written(upstream, "")
        assert "".join(pieces) == text and work.completion_tokens in (len(text.split()), 1)
        assert work.prompt_tokens > 0 and work.finish_reason == "stop"


def test_a_stream_is_read_whatever_its_bytes_look_like() -> None:
    whole = (
        b": ping\r\n\r\n"
        + delta("")
        + b"retry: 5\n"
        + delta("黄金")
        + b": ping\n\n"
        + event({"choices": []})
        + delta("走高", "stop")
        + b"data: [DONE]"
    )
    upstream = Upstream()

    async def write(engine: UpstreamEngine) -> list[str]:
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        upstream.faults = [Reply(headers=headers, pieces=[whole[i : i + 1] for i in range(len(whole))])]
        async with conversation(engine) as asked:
            return [piece async for piece in asked.write("", max_tokens=9)]

    assert run(upstream, write) == ["黄金", "走高"]


# --- whole answers as JSON --------------------------------------------------------------------------

GOOD = (
    '{"impact":"high","direction":"bullish","signals":{"priced_in":true,"wait_and_see":false},'
    '"rationale":"利率\\n上行。\\ud800"}'
)
CONTEXT = Context(pre_return=0.001, volatility=0.003, typical_move=0.0005)


def answers(upstream: Upstream, request: NewsRequest | ReportRequest, *texts: str) -> list[Any]:
    """`texts`: what the upstream writes at the first, the second … time."""

    def common() -> dict[str, Any]:
        model = {"backend": "finetuned", "base": "b", "adapter": None, "prompt_version": 1}
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        timing = {"queue": 0.0, "model": 0.0, "total": 0.0}
        return {"id": "x", "model": model, "usage": usage, "timing_ms": timing, "calibrated": True}

    async def ask(engine: UpstreamEngine) -> list[Any]:
        assert not engine.info.continues_answers
        remaining = list(texts)
        upstream.change = lambda answer: _with_text(answer, remaining.pop(0))
        async with conversation(engine) as asked:
            return [part async for part in generated_answer(request, asked, about=AdapterInfo(), common=common)]

    result: list[Any] = run(upstream, ask)
    return result


def _with_text(answer: dict[str, Any], text: str) -> dict[str, Any]:
    answer["choices"][0]["message"]["content"] = text
    return answer


def plain(*accepts: str) -> Upstream:
    return Upstream(continues="never", accepts=set(accepts))


def test_a_written_analysis_is_validated_and_has_no_probabilities() -> None:
    upstream = plain("response_format")
    labels, text, whole = answers(upstream, NewsRequest(text="加息", context=CONTEXT), GOOD)
    assert isinstance(whole, NewsAnalysis) and whole.signals == ["priced_in"] and whole.impact_probs is None
    assert text == whole.rationale == "利率 上行。" and not whole.calibrated
    assert labels == whole.model_copy(update={"rationale": None})
    [body] = upstream.bodies
    wanted = body["response_format"]["json_schema"]
    assert wanted["strict"] and wanted["schema"] == answer_schema(NewsRequest(text="加息", context=CONTEXT))
    assert list(wanted["schema"]["properties"]) == ["impact", "direction", "signals", "rationale"]
    assert body["max_tokens"] > 160 and body["temperature"] == 0


def test_without_explanation_none_is_asked_for_or_given() -> None:
    upstream = plain("response_format")
    [labels] = answers(upstream, NewsRequest(text="加息", explain=False), '{"impact":"low","direction":"neutral"}')
    assert labels.rationale is None and labels.signals is None
    assert "rationale" not in upstream.bodies[0]["response_format"]["json_schema"]["schema"]["properties"]


def test_json_is_found_in_a_code_fence() -> None:
    *_, whole = answers(plain(), NewsRequest(text="加息"), f"好的：\n```json\n{GOOD}\n```")
    assert whole.impact == "high"


def test_a_report_is_validated() -> None:
    request = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
    cited, text, whole = answers(plain(), request, '{"citations":[0,0],"answer":"1亿元"}')
    assert isinstance(whole, ReportAnswer) and whole.citations == [0] and whole.answer == text == "1亿元"
    assert cited.answer is None and isinstance(answer_schema(request)["properties"], dict)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "利好",
        GOOD[:-9],
        GOOD.replace("high", "huge"),
        '{"impact":"low","direction":"neutral"}',
        "[" * 100_000,
        "{" * 100_000,
        json.dumps([GOOD]),
    ],
)
def test_an_invalid_answer_is_asked_for_once_more_and_then_an_error(bad: str) -> None:
    upstream = plain()
    *_, whole = answers(upstream, NewsRequest(text="加息"), bad, GOOD)
    assert whole.impact == "high"
    first, second = upstream.bodies
    assert first["temperature"] == 0 and second["temperature"] > 0  # greedily the same would come again
    with pytest.raises(UpstreamAnswerInvalid):
        answers(plain(), NewsRequest(text="加息"), bad, bad)


def test_a_citation_of_nothing_is_invalid() -> None:
    request = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
    with pytest.raises(UpstreamAnswerInvalid, match="不存在的资料"):
        answers(plain(), request, *['{"citations":[3],"answer":"1亿元"}'] * 2)

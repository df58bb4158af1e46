"""Text and chat through an upstream that behaves: sampled as asked, given as it comes, read however it is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fintunnel_server.engine import Piece, Sampling, Work
from fintunnel_server.errors import SamplingRejected, SchemaRejected
from fintunnel_server.upstream import UpstreamEngine

from tests.server.upstream_conversation import QUESTION, RATIONALE, conversation, run
from tests.server.upstream_stand_in import NEWS_TOKENS, Reply, Upstream, delta, event


def written(upstream: Upstream, prefix: str = RATIONALE, **options: Any) -> tuple[list[str], Work]:
    async def write(engine: UpstreamEngine) -> tuple[list[str], Work]:
        async with conversation(engine) as asked:
            return [piece async for piece in asked.write(prefix, **{"max_tokens": 20, **options})], asked.work

    result: tuple[list[str], Work] = run(upstream, write)
    return result


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

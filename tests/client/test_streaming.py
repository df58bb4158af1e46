"""Streams of the hosted API and of servers that behave oddly; the real app's are in tests/contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from fintunnel import (
    AsyncDeepSeekClient,
    ConnectionFailed,
    DeepSeekClient,
    Done,
    Labels,
    MalformedAnswerError,
    RateLimitError,
    ServerFailure,
    StreamPart,
    TextPiece,
)

from tests.client.good_answers import ANALYSIS, RATIONALE, WRITTEN, chat_object, good, hosted_events, own_events
from tests.client.misbehaving_server import (
    Line,
    MisbehavingServer,
    Request,
    always,
    answer,
    chunk,
    event_stream,
    misbehaving_server,
    stream_head,
)


def parts_of(server: MisbehavingServer, backend: str, *, asynchronous: bool = False) -> list[StreamPart[Any]]:
    options = {"backend": backend, "url": server.url, "api_key": "k", "timeout": 5.0}
    if not asynchronous:
        with DeepSeekClient(**options) as client:  # type: ignore[arg-type]
            return list(client.stream("加息"))

    async def ask() -> list[StreamPart[Any]]:
        async with AsyncDeepSeekClient(**options) as client:  # type: ignore[arg-type]
            return [part async for part in client.stream("加息")]

    return asyncio.run(ask())


def text_of(parts: Sequence[StreamPart[Any]]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPiece))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("backend", ["finetuned", "deepseek"])
def test_labels_come_first_then_the_text_then_the_whole(backend: str, asynchronous: bool) -> None:
    with misbehaving_server(always(good(backend, "stream"))) as server:
        first, *middle, last = parts_of(server, backend, asynchronous=asynchronous)
    assert isinstance(first, Labels) and first.analysis.impact == "high" and first.analysis.rationale is None
    assert len(middle) > 1 and text_of(middle) == RATIONALE
    assert isinstance(last, Done) and last.analysis.rationale == RATIONALE
    assert last.analysis.id == first.analysis.id and last.analysis.usage.completion_tokens > 0
    assert server.requests[0].headers["accept"] == "text/event-stream"


def test_a_model_that_writes_the_text_first_is_given_at_the_end() -> None:
    late = json.dumps({"rationale": RATIONALE, "impact": "high", "direction": "bearish"}, ensure_ascii=False)
    with misbehaving_server(always(event_stream(*hosted_events(late)))) as server:
        parts = parts_of(server, "deepseek")
    assert [type(part) for part in parts] == [Labels, TextPiece, Done] and text_of(parts) == RATIONALE


def test_written_json_that_contradicts_what_was_streamed_is_no_answer() -> None:
    twice = WRITTEN[:-1] + ',"impact":"low"}'
    with misbehaving_server(always(event_stream(*hosted_events(twice)))) as server:
        with pytest.raises(MalformedAnswerError, match="对不上"):
            parts_of(server, "deepseek")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_stream_without_an_answer_is_asked_again_as_a_whole(asynchronous: bool) -> None:
    again = always(answer(200, json.dumps(chat_object(WRITTEN)).encode()))
    with misbehaving_server(always(event_stream(*hosted_events("看多"))), again) as server:
        parts = parts_of(server, "deepseek", asynchronous=asynchronous)
    assert isinstance(parts[-1], Done) and text_of(parts) == RATIONALE
    assert server.requests[1].body["messages"][1] == {"role": "assistant", "content": "看多"}


@pytest.mark.parametrize("backend", ["finetuned", "deepseek"])
def test_a_cut_after_the_first_part_is_told_and_not_asked_again(backend: str) -> None:
    events = own_events() if backend == "finetuned" else hosted_events()

    def cut(line: Line, request: Request) -> None:
        del request
        line.send(stream_head() + b"".join(map(chunk, events[: len(events) - 2])))

    given: list[StreamPart[Any]] = []
    with misbehaving_server(cut) as server, pytest.raises(ConnectionFailed):
        client = DeepSeekClient(backend=backend, url=server.url, api_key="k")  # type: ignore[arg-type]
        for part in client.stream("加息"):
            given.append(part)
    assert isinstance(given[0], Labels) and len(server.requests) == 1


def test_an_error_event_is_the_error_that_it_names() -> None:
    error = {"message": "排队已满", "type": "rate_limit_error", "code": "queue_full", "param": None, "request_id": "r1"}
    event = f"event: error\ndata: {json.dumps({'error': error})}\n\n".encode()
    with misbehaving_server(always(event_stream(own_events()[0], event))) as server:
        with pytest.raises(RateLimitError, match="排队已满（编号 r1）"):
            parts_of(server, "finetuned")
    hosted = b'data: {"error": {"message": "overloaded"}}\n\n'
    with misbehaving_server(always(event_stream(hosted))) as server, pytest.raises(ServerFailure, match="overloaded"):
        parts_of(server, "deepseek")


@pytest.mark.parametrize(
    "events",
    [
        [own_events()[-1]],  # no labels
        [own_events()[0], own_events()[0]],
        [own_events()[0], own_events()[1], own_events()[-1]],  # pieces lost
        [own_events()[0], own_events()[-1].replace(b'"impact":"high"', b'"impact":"low"')],
        [b"event: analysis\ndata: {}\n\n"],
        [b"event: analysis\ndata: nonsense\n\n"],
        [own_events()[0], b"event: token\ndata: {}\n\n"],
    ],
)
def test_events_that_do_not_fit_together_are_no_answer(events: list[bytes]) -> None:
    with misbehaving_server(always(event_stream(*events))) as server, pytest.raises(MalformedAnswerError):
        parts_of(server, "finetuned")


def test_events_of_later_versions_and_what_follows_the_end_are_read_over() -> None:
    events = [b"event: news\ndata: 1\n\n", *own_events(), b"event: token\ndata: nonsense\n\n"]
    with misbehaving_server(always(event_stream(*events))) as server:
        last = parts_of(server, "finetuned")[-1]
    assert isinstance(last, Done) and last.analysis == ANALYSIS


def test_closing_a_stream_closes_its_connection() -> None:
    gone: list[bool] = []

    def behave(line: Line, request: Request) -> None:
        del request
        line.send(stream_head() + chunk(own_events()[0]))
        gone.append(line.socket.recv(1) == b"")  # the client's end

    with misbehaving_server(behave) as server:
        client = DeepSeekClient(backend="finetuned", url=server.url)
        stream = client.stream("加息")
        assert isinstance(next(stream), Labels)
        stream.close()
    assert gone == [True]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_conversation_is_streamed_as_text(asynchronous: bool) -> None:
    async def ask(url: str) -> list[str]:
        async with AsyncDeepSeekClient(backend="deepseek", url=url, api_key="k") as client:
            return [piece async for piece in client.stream_chat([{"role": "user", "content": "你好"}])]

    with misbehaving_server(always(event_stream(*hosted_events("金价走高")))) as server:
        if asynchronous:
            pieces = asyncio.run(ask(server.url))
        else:
            client = DeepSeekClient(backend="deepseek", url=server.url, api_key="k")
            pieces = list(client.stream_chat([{"role": "user", "content": "你好"}]))
    assert "".join(pieces) == "金价走高"
    with misbehaving_server(always(event_stream(*hosted_events("金价走高")[:1]))) as server:
        client = DeepSeekClient(backend="deepseek", url=server.url, api_key="k")
        with pytest.raises(ConnectionFailed, match="到一半"):
            list(client.stream_chat([{"role": "user", "content": "你好"}]))

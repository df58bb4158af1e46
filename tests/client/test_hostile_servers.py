"""Servers that mean harm, or stand behind a proxy that is broken: beyond the fault matrix."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fintunnel import (
    AsyncDeepSeekClient,
    ConfigurationError,
    ConnectionFailed,
    DeepSeekClient,
    FinTunnelError,
    InvalidRequestError,
    MalformedAnswerError,
    RateLimitError,
    RequestTimeout,
)
from fintunnel.compat import DeepseekClient

from tests.client.cells import short_waits
from tests.client.fault_server import Reply, chat_reply, fault_server
from tests.client.good_answers import ANALYSIS, WRITTEN, chat_object, good_body
from tests.client.misbehaving_server import (
    Line,
    Request,
    always,
    answer,
    chunk,
    event_stream,
    misbehaving_server,
    stream_head,
)

KEY = "sentinel-key-123"
HOSTILE = f"\x1b]0;owned\x07 {KEY}"


def both(url: str, ask: Callable[[Any], Any], *, asynchronous: bool, **options: Any) -> Any:
    """`ask(client)` of a client of either kind."""
    made: dict[str, Any] = {"backend": "finetuned", "url": url, "api_key": KEY} | options

    async def run() -> Any:
        async with AsyncDeepSeekClient(**made) as client:
            result = ask(client)
            return [part async for part in result] if hasattr(result, "__aiter__") else await result

    if asynchronous:
        return asyncio.run(run())
    with DeepSeekClient(**made) as client:
        result = ask(client)
        return list(result) if hasattr(result, "__next__") else result


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_answer_too_many_is_not_taken_for_the_next_ones(asynchronous: bool) -> None:
    """On a connection that stays open, the surplus would answer the next question."""

    def echo_twice(line: Line, request: Request) -> None:
        for _ in range(3):
            text = request.body["messages"][0]["content"]
            body = json.dumps(chat_object(f"答：{text}"), ensure_ascii=False).encode()
            line.send(answer(200, body, headers={"Connection": "keep-alive"}) * 2)
            following = line.next_request()
            if following is None:
                return
            request = following

    async def ask_all(url: str) -> list[str]:
        async with AsyncDeepSeekClient(backend="finetuned", url=url) as client:
            return [await client.complete(text) for text in ("一", "二", "三")]

    with short_waits(), misbehaving_server(echo_twice) as server:
        if asynchronous:
            answers = asyncio.run(ask_all(server.url))
        else:
            with DeepSeekClient(backend="finetuned", url=server.url) as client:
                answers = [client.complete(text) for text in ("一", "二", "三")]
    assert answers == ["答：一", "答：二", "答：三"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("call", ["analyze", "stream"])
def test_bytes_that_come_fast_do_not_stretch_the_deadline_either(call: str, asynchronous: bool) -> None:
    def trickle(line: Line, request: Request) -> None:
        del request
        head = stream_head() if call == "stream" else stream_head().replace(b"text/event-stream", b"application/json")
        line.send(head)
        for _ in range(5000):
            line.send(chunk(b": \n" if call == "stream" else b"\n"))
            line.wait(0.001)

    began = time.monotonic()
    with misbehaving_server(trickle) as server, pytest.raises(RequestTimeout):
        both(server.url, lambda client: getattr(client, call)("加息"), asynchronous=asynchronous, timeout=0.7)
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_silence_that_begins_late_ends_with_the_call_and_not_a_whole_timeout_later(asynchronous: bool) -> None:
    def late(line: Line, request: Request) -> None:
        del request
        line.wait(0.8)
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
        line.wait(10)

    began = time.monotonic()
    with misbehaving_server(late) as server, pytest.raises(RequestTimeout):
        both(server.url, lambda client: client.analyze("加息"), asynchronous=asynchronous, timeout=1.2)
    assert time.monotonic() - began < 1.8  # 2.0 with a timeout that begins anew


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_answer_that_is_compressed_twice_is_refused_before_it_swells(asynchronous: bool) -> None:
    bomb = gzip.compress(gzip.compress(b" " * (100 << 20)))
    served = answer(200, bomb, headers={"Content-Encoding": "gzip, gzip"})
    with misbehaving_server(always(served)) as server, pytest.raises(MalformedAnswerError, match="不止一次"):
        both(server.url, lambda client: client.analyze("加息"), asynchronous=asynchronous)


def _error(**fields: str) -> bytes:
    detail = {"message": "no", "type": "t", "code": "queue_full", "param": None, "request_id": "r"} | fields
    return json.dumps({"error": detail}).encode()


@pytest.mark.parametrize(
    ("served", "ask"),
    [
        (answer(400, _error(message=HOSTILE, request_id=HOSTILE, code=HOSTILE)), lambda c: c.analyze("加息")),
        (answer(400, b"{}", headers={"X-Request-Id": KEY}), lambda c: c.analyze("加息")),
        (answer(404, b"{}", headers={"Ngrok-Error-Code": KEY}), lambda c: c.analyze("加息")),
        (answer(307, b"", headers={"Location": f"http://{KEY}/"}), lambda c: c.analyze("加息")),
        (
            event_stream(b"event: error\ndata: " + _error(message=HOSTILE, request_id=HOSTILE) + b"\n\n"),
            lambda c: c.stream("加息"),
        ),
        (
            event_stream(b"data: " + _error(message=HOSTILE) + b"\n\n"),
            lambda c: c.stream_chat([{"role": "user", "content": "x"}]),
        ),
        (
            event_stream(b"data: " + json.dumps({"error": {"message": HOSTILE}}).encode() + b"\n\n"),
            lambda c: c.stream_chat([{"role": "user", "content": "x"}]),
        ),
    ],
)
def test_what_a_server_says_reaches_no_message_raw_and_never_with_the_key(served: bytes, ask: Any) -> None:
    with misbehaving_server(always(served)) as server, pytest.raises(FinTunnelError) as caught:
        both(server.url, ask, asynchronous=False, max_retries=0)
    shown = f"{caught.value} {caught.value!r} {caught.value.request_id} {caught.value.code}"
    assert KEY not in shown and "\x1b" not in shown and "\x07" not in shown


def test_an_error_in_a_chat_that_had_begun_is_the_error_that_it_names() -> None:
    with misbehaving_server(always(event_stream(b"data: " + _error() + b"\n\n"))) as server:
        with pytest.raises(RateLimitError):
            both(server.url, lambda c: c.stream_chat([{"role": "user", "content": "x"}]), asynchronous=False)


def test_half_a_surrogate_pair_is_no_answer() -> None:
    body = good_body("finetuned").decode().replace("黄金承压", "\\ud800")
    with misbehaving_server(always(answer(200, body.encode()))) as server:
        with pytest.raises(MalformedAnswerError, match="代理字符"):
            both(server.url, lambda client: client.analyze("加息"), asynchronous=False)
    hosted = json.dumps(chat_object(WRITTEN.replace("黄金承压", "\\ud800"))).encode()
    with misbehaving_server(always(answer(200, hosted))) as server:
        analysis = both(server.url, lambda c: c.analyze("加息"), asynchronous=False, backend="deepseek")
    analysis.model_dump_json()  # the half is gone


def test_the_second_choice_is_not_mixed_into_a_chat() -> None:
    deltas = [(0, "甲"), (1, "坏"), (0, "乙")]
    events = [
        b"data: " + json.dumps({"choices": [{"index": i, "delta": {"content": t}, "finish_reason": None}]}).encode()
        for i, t in deltas
    ]
    with misbehaving_server(always(event_stream(b"\n\n".join([*events, b"data: [DONE]\n\n"])))) as server:
        pieces = both(server.url, lambda c: c.stream_chat([{"role": "user", "content": "x"}]), asynchronous=False)
    assert "".join(pieces) == "甲乙"


def test_completions_can_be_copied_and_kept() -> None:
    with fault_server(chat_reply("金价走高")) as server:
        made = DeepSeekClient(backend="finetuned", url=server.url).complete("x")
        for copied in (copy.copy(made), copy.deepcopy([made])[0], pickle.loads(pickle.dumps(made))):
            assert copied == made and copied.backend == "finetuned" and copied.usage == made.usage
    with fault_server(chat_reply("金价走高")) as server:
        old = DeepseekClient(api_key="k", base_url=server.url)
        assert type(old.complete("x")) is str


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_empty_cell_of_a_table_loses_no_other(asynchronous: bool) -> None:
    def both_ok(line: Line, request: Request) -> None:
        good = {"analysis": json.loads(ANALYSIS.model_dump_json())}
        line.send(answer(200, json.dumps({"results": [good for _ in request.body["items"]]}).encode()))

    cells: list[Any] = ["一", None, float("nan"), b"x", {"text": "x"}, "二"]
    with misbehaving_server(both_ok) as server:
        results = both(server.url, lambda client: client.analyze_many(cells), asynchronous=asynchronous)
        with pytest.raises(InvalidRequestError, match="NoneType"):
            both(server.url, lambda client: client.analyze(None), asynchronous=asynchronous)
    assert [isinstance(each, InvalidRequestError) for each in results] == [False, True, True, True, True, False]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e10, "5"])
def test_a_deadline_that_is_none_is_refused(seconds: Any) -> None:
    client = DeepSeekClient(backend="finetuned")
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        client.analyze("加息", timeout_seconds=seconds)
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        next(client.stream("加息", timeout_seconds=seconds))
    with pytest.raises(ConfigurationError):
        client.analyze_many(["加息"], timeout_seconds=seconds)
    with pytest.raises(ConfigurationError, match="timeout"):
        DeepSeekClient(backend="finetuned", timeout=seconds)


@pytest.mark.parametrize("options", [{"max_retries": -1}, {"max_retries": 11}, {"max_retries": "2"}])
def test_numbers_of_no_use_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="max_retries"):
        DeepSeekClient(backend="finetuned", **options)
    with pytest.raises(ConfigurationError, match="concurrency"):
        DeepSeekClient(backend="finetuned").analyze_many(["x"], concurrency=0)


def test_a_conversation_that_nests_without_end_is_an_invalid_request() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidRequestError):
        DeepSeekClient(backend="finetuned").chat([{"role": "user", "content": deep}])  # type: ignore[typeddict-item]


def test_finding_the_server_is_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGROK_API_KEY", "ngrok-api-secret")
    slow = Reply(drip=0.2, drips=60)
    with fault_server(slow) as api:
        monkeypatch.setattr("fintunnel.backends.ngrok_api._API", api.url)
        began = time.monotonic()
        with pytest.raises(RequestTimeout):
            DeepSeekClient(backend="finetuned").analyze("加息", timeout_seconds=0.8)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b"])
def test_a_connection_file_that_cannot_be_is_a_wrong_setting(path: str) -> None:
    from fintunnel.backends.address import own_server_address

    with pytest.raises(ConfigurationError, match="连接文件"):
        own_server_address(None, Path(path), None).url()


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C alone there")
def test_ctrl_c_in_a_script_that_asks_many_ends_it_at_once() -> None:
    def silent(line: Line, request: Request) -> None:
        del request
        line.wait(15)

    with misbehaving_server(silent) as server:
        code = (
            "from fintunnel import DeepSeekClient\n"
            f"DeepSeekClient(backend='finetuned', url={server.url!r}).analyze_many(['x'] * 40)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 20
            while len(server.requests) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=15)
    assert time.monotonic() - began < 4 and b"KeyboardInterrupt" in error


def test_nobody_at_any_of_a_hosts_addresses_is_told_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    real = socket.getaddrinfo

    def three(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host != "three.invalid":
            return real(host, port, *rest, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (1, 2, 3)]

    monkeypatch.setattr(socket, "getaddrinfo", three)
    with short_waits(), pytest.raises(ConnectionFailed, match="没有程序在监听"):
        both("http://three.invalid:9", lambda client: client.analyze("加息"), asynchronous=False, timeout=2)

"""Upstreams that fail or break off: tried again while nothing was given, typed, and the key is told to nobody."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fintunnel_server.errors import (
    UpstreamAnswerInvalid,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)
from fintunnel_server.upstream.abilities import STREAM_OPTIONS, chat_body
from fintunnel_server.upstream.connection import Connection, Waiting
from fintunnel_server.upstream.replies import Reply as Read
from pydantic import SecretStr

from tests.server.upstream_stand_in import Reply, Upstream, delta, event, upstream_server

BODY = chat_body("tuned", [{"role": "user", "content": "?"}], max_tokens=9)
STREAM = {"Content-Type": "text/event-stream"}
BUSY = Reply(503, b'{"error":{"message":"busy"}}')


def connected(upstream: Upstream, ask: Callable[[Connection], Awaitable[Any]], **options: Any) -> Any:
    async def asked() -> Any:
        async with Connection(upstream.url, SecretStr("sk-1234"), **{"backoff": 0.01, **options}) as connection:
            return await ask(connection)

    with upstream_server(upstream):
        return asyncio.run(asked())


async def complete(connection: Connection) -> str:
    return (await connection.complete(BODY, Waiting())).text


async def streamed(connection: Connection) -> list[str]:
    body = BODY | {"stream": True} | dict(STREAM_OPTIONS[0])
    return [reply.text async for reply in connection.stream(body, Waiting()) if reply.text]


@pytest.mark.parametrize(
    "fault",
    [
        BUSY,
        Reply(429),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(504),
        Reply(body=b'{"choices":[', abrupt=True),
        Reply(abrupt=True, body=b""),
        Reply(body=b'{"error":{"message":"busy","code":503}}'),
    ],
)
def test_passing_failures_are_tried_again(fault: Reply) -> None:
    upstream = Upstream(continues="never", text="好", faults=[fault, fault])
    assert connected(upstream, complete) == "好" and len(upstream.bodies) == 3
    upstream = Upstream(continues="never", text="好", faults=[fault, fault])
    assert connected(upstream, streamed) == ["好"] and len(upstream.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "kind", "times"),
    [
        (BUSY, UpstreamOverloaded, 4),
        (Reply(502), UpstreamUnreachable, 4),
        (Reply(500), UpstreamError, 1),
        (Reply(400), UpstreamRefused, 1),
        (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), UpstreamRefused, 1),
        (Reply(200, b"<html>"), UpstreamAnswerInvalid, 1),
        (Reply(200, b"[1]"), UpstreamAnswerInvalid, 1),
        (Reply(200, b'{"choices":[]}'), UpstreamAnswerInvalid, 1),
        (Reply(200, b"\x1f\x8b broken", {"Content-Encoding": "gzip"}), UpstreamAnswerInvalid, 1),
        (Reply(200, b"[" * 200_000), UpstreamAnswerInvalid, 1),
    ],
)
def test_lasting_failures_are_typed(fault: Reply, kind: type[UpstreamError], times: int) -> None:
    upstream = Upstream(faults=[fault] * 9)
    with pytest.raises(UpstreamError) as failed:
        connected(upstream, complete)
    assert type(failed.value) is kind and len(upstream.bodies) == times


def test_waits_grow_and_are_spread() -> None:
    upstream = Upstream(faults=[BUSY] * 9)
    with pytest.raises(UpstreamOverloaded):
        connected(upstream, complete, backoff=0.1)
    gaps = [after - before for before, after in zip(upstream.times, upstream.times[1:], strict=False)]
    assert all(gap > 0.07 * 2**i for i, gap in enumerate(gaps)) and len(gaps) == 3


def test_retry_after_is_waited_for_unless_it_is_long() -> None:
    upstream = Upstream(continues="never", text="好", faults=[Reply(429, headers={"Retry-After": "0.4"})])
    assert connected(upstream, complete) == "好" and upstream.times[1] - upstream.times[0] > 0.39
    upstream = Upstream(faults=[Reply(429, headers={"Retry-After": "60"})] * 9)
    began = time.monotonic()
    with pytest.raises(UpstreamOverloaded) as told:
        connected(upstream, complete)
    assert told.value.retry_after == 60 and len(upstream.bodies) == 1 and time.monotonic() - began < 5


def test_nobody_there_is_unreachable() -> None:
    upstream = Upstream()
    with upstream_server(upstream):
        pass

    async def ask() -> None:
        async with Connection(upstream.url, None, backoff=0.01) as connection:
            await complete(connection)

    with pytest.raises(UpstreamUnreachable) as failed:
        asyncio.run(ask())
    assert "127.0.0.1" not in str(failed.value)


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        ([], UpstreamUnreachable),  # ends without an end
        ([b'data: {"cho'], UpstreamUnreachable),
        ([event({"error": {"message": "engine died", "code": 500}})], UpstreamError),
        ([event({"error": {"message": "busy", "code": 503}})], UpstreamOverloaded),
        ([b"data: nonsense\n\n"], UpstreamAnswerInvalid),
        ([b"data: [1]\n\n"], UpstreamAnswerInvalid),
        ([b"data: {}\n\n"], UpstreamAnswerInvalid),
        ([b"x" * (2 << 20)], UpstreamAnswerInvalid),
    ],
)
def test_a_stream_that_breaks_is_not_begun_again(rest: list[bytes], kind: type[UpstreamError]) -> None:
    upstream = Upstream(faults=[Reply(headers=STREAM, pieces=[delta("黄金"), *rest])])
    given: list[str] = []

    async def ask(connection: Connection) -> None:
        async for reply in connection.stream(BODY | {"stream": True}, Waiting()):
            given.append(reply.text)

    with pytest.raises(UpstreamError) as failed:
        connected(upstream, ask)
    assert type(failed.value) is kind and given == ["黄金"] and len(upstream.bodies) == 1


def test_a_stream_that_breaks_before_its_first_text_is_begun_again() -> None:
    broken = Reply(headers=STREAM, pieces=[delta(""), event({"error": {"message": "busy", "code": 503}})])
    upstream = Upstream(continues="never", text="好", faults=[broken])
    assert connected(upstream, streamed) == ["好"] and len(upstream.bodies) == 2


def test_the_key_goes_to_the_upstream_and_into_no_log_or_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    telling = Reply(500, b'{"error":{"message":"your key sk-1234 broke it"}}')
    upstream = Upstream(faults=[telling, BUSY, BUSY, BUSY, BUSY])
    failures = []

    async def ask(connection: Connection) -> Read:
        for _ in range(2):
            try:
                await connection.complete(BODY, Waiting())
            except UpstreamError as error:
                failures.append(error)
        return await connection.complete(BODY, Waiting())

    connected(upstream, ask)
    assert {headers["authorization"] for headers in upstream.headers} == {"Bearer sk-1234"}
    assert len(failures) == 2 and "broke it" in failures[0].detail
    told = "".join(f"{error} {error.detail}" for error in failures)
    assert "sk-1234" not in told and "sk-1234" not in caplog.text

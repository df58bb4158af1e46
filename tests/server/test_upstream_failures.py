"""Upstreams that fail, stall, lie or go away: retried while nothing was given, typed, left when the caller leaves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fintunnel.errors import PromptRejectedError, PromptTooLongError
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

from tests.server.test_upstream_answers import IMPACTS, RATIONALE, conversation, run
from tests.server.upstream_stand_in import NEWS_TOKENS, Reply, Upstream, delta, event, upstream_server

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


# --- retries ----------------------------------------------------------------------------------------


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


# --- leaving ----------------------------------------------------------------------------------------

ENDLESS = NEWS_TOKENS | {"。": {"又": 1.0}, "又": {"又": 1.0}}


@pytest.mark.parametrize("leave", ["cancel", "break", "abandon"])
def test_leaving_a_text_closes_the_upstreams_connection(leave: str) -> None:
    upstream = Upstream(tokens=ENDLESS, drip=0.01)

    async def ask(engine: Any) -> None:
        async def read() -> None:
            async with conversation(engine) as asked:
                pieces = asked.write(RATIONALE, max_tokens=5000)
                async for _ in pieces:
                    if leave == "break":
                        break
                    if leave == "abandon":
                        return

        task = asyncio.create_task(read())
        await asyncio.sleep(0.5)
        if leave == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        assert await asyncio.to_thread(upstream.disconnected.wait, 5)

    run(upstream, ask)
    assert upstream.pieces_sent < 1000 and upstream.in_flight == 0


def test_a_deadline_ends_scoring_that_hangs_and_frees_its_connections() -> None:
    upstream = Upstream()

    async def ask(engine: Any) -> float:
        upstream.drip = 1.0
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), conversation(engine) as asked:
                await asked.score([IMPACTS] * 4)
        passed = time.monotonic() - began
        upstream.drip = 0.0
        async with conversation(engine) as asked:  # all of two connections are there again
            assert (await asked.score([IMPACTS] * 2))[0].choice == "high"
        return passed

    assert run(upstream, ask, connections=2) < 0.8


def test_no_more_requests_are_sent_at_once_than_there_are_connections() -> None:
    upstream = Upstream()

    async def ask(engine: Any) -> Any:
        upstream.drip = 0.05
        async with conversation(engine) as asked:
            await asked.score([IMPACTS] * 6)
            return asked.work

    work = run(upstream, ask, connections=2)
    assert upstream.most_in_flight == 2 and len(upstream.bodies) == 6
    assert work.queue_seconds > 0.08 and work.model_seconds > 0.03


def test_one_failed_field_fails_the_call_as_itself() -> None:
    upstream = Upstream()

    async def ask(engine: Any) -> None:
        upstream.faults = [None, Reply(500), None]
        async with conversation(engine) as asked:
            await asked.score([IMPACTS] * 3)

    with pytest.raises(UpstreamError):
        run(upstream, ask)


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("This model's maximum context length is 1024 tokens. However, you requested 2000", PromptTooLongError),
        ("the request exceeds the available context size", PromptTooLongError),
        ("Conversation roles must alternate user/assistant", PromptRejectedError),
        ("seed is not supported", UpstreamRefused),
    ],
)
def test_what_is_refused_for_the_callers_text_is_the_callers_error(message: str, kind: type[Exception]) -> None:
    upstream = Upstream()

    async def ask(engine: Any) -> None:
        upstream.faults = [Reply(400, b'{"error":{"message":"%s"}}' % message.encode())]
        async with conversation(engine) as asked:
            async for _ in asked.write("", max_tokens=9):
                pass

    with pytest.raises(kind) as refused:
        run(upstream, ask)
    assert message not in str(refused.value)


# --- health -----------------------------------------------------------------------------------------


def test_health_is_asked_for_once_in_a_while() -> None:
    upstream = Upstream()

    async def ask(engine: Any) -> None:
        upstream.lists = 0
        await asyncio.gather(*(engine.check() for _ in range(20)))
        assert upstream.lists == 1

    run(upstream, ask)


@pytest.mark.parametrize(
    "answer", [Reply(500), Reply(503), Reply(401), Reply(404), Reply(200, b"<html>"), Reply(200, b'{"data":[]}')]
)
def test_a_sick_upstream_is_not_ready_and_a_cured_one_is(answer: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_server.upstream.engine._CHECK_KEPT_SECONDS", 0.0)
    upstream = Upstream()

    async def ask(engine: Any) -> None:
        await engine.check()
        upstream.model_list = answer
        with pytest.raises(UpstreamError):
            await engine.check()
        upstream.model_list = None
        await engine.check()

    run(upstream, ask)


def test_an_upstream_without_a_list_is_healthy_while_it_answers() -> None:
    upstream = Upstream(model_list=Reply(404))
    run(upstream, lambda engine: engine.check())


# --- secrets ----------------------------------------------------------------------------------------


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

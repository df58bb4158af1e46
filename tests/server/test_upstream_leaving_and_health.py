"""Callers that leave free the upstream, its refusals are told as what they are, and its health is asked for."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fintunnel.errors import PromptRejectedError, PromptTooLongError
from fintunnel_server.errors import UpstreamError, UpstreamRefused

from tests.server.upstream_conversation import IMPACTS, RATIONALE, conversation, run
from tests.server.upstream_stand_in import NEWS_TOKENS, Reply, Upstream

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

    with pytest.raises(UpstreamError) as caught:
        run(upstream, ask)
    assert "500" in caught.value.detail  # not an error of the group that asked, and not of the two that went well


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

"""The hosted API in the own server's place: only where it is wanted, and never unsaid."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fintunnel import (
    AsyncDeepSeekClient,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    DeepSeekClient,
    Done,
    NewsAnalysis,
    QuotaError,
    ServerFailure,
    StreamPart,
)
from fintunnel.backends.fallback import Cooldown
from fintunnel.local_server import free_port

from tests.client.cells import short_waits
from tests.client.fault_server import FaultServer, Reply, chat_reply, fault_server
from tests.client.good_answers import ANALYSIS, WRITTEN, hosted_events
from tests.client.misbehaving_server import always, event_stream, misbehaving_server
from tests.live_app import LiveApp

OWN = Reply(body=ANALYSIS.model_dump_json().encode())


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with short_waits():
        yield


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with fault_server(chat_reply(WRITTEN)) as server:
        monkeypatch.setenv("DEEPSEEK_BASE_URL", server.url)
        monkeypatch.setenv("DEEPSEEK_API_KEY", "hosted-secret")
        yield server


def test_without_the_policy_a_dead_server_is_an_error(hosted: FaultServer) -> None:
    with pytest.raises(ConnectionFailed):
        DeepSeekClient(backend="finetuned", url=f"http://127.0.0.1:{free_port()}").analyze("加息")
    assert hosted.seen == []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_with_it_the_hosted_api_answers_and_says_so(hosted: FaultServer, asynchronous: bool) -> None:
    async def ask(url: str) -> tuple[object, object]:
        async with AsyncDeepSeekClient(backend="finetuned", url=url, api_key="own-secret", fallback="deepseek") as c:
            return await c.analyze("加息"), await c.complete("你好")

    url = f"http://127.0.0.1:{free_port()}"
    if asynchronous:
        analysis, text = asyncio.run(ask(url))
    else:
        client = DeepSeekClient(backend="finetuned", url=url, api_key="own-secret", fallback="deepseek")
        analysis, text = client.analyze("加息"), client.complete("你好")
    assert analysis.model.backend == "deepseek" and analysis.model.fallback  # type: ignore[attr-defined]
    assert text.backend == "deepseek" and text.fallback  # type: ignore[attr-defined]
    assert "own-secret" not in str(hosted.seen) and hosted.seen[0].headers["authorization"] == "Bearer hosted-secret"


def test_check_names_who_would_answer_instead(live_app: LiveApp, hosted: FaultServer) -> None:
    options: dict[str, Any] = {"backend": "finetuned", "url": live_app.url, "api_key": "right-key"}
    assert DeepSeekClient(**options, fallback="deepseek").check().fallback == "deepseek"
    assert DeepSeekClient(**options).check().fallback is None
    assert hosted.seen == []


def test_an_own_answer_is_no_fallback(hosted: FaultServer) -> None:
    with fault_server(OWN) as own:
        analysis = DeepSeekClient(backend="finetuned", url=own.url, fallback="deepseek").analyze("加息")
    assert not analysis.model.fallback and hosted.seen == []
    assert "hosted-secret" not in str(own.seen)


def test_after_a_failure_the_own_server_is_left_alone_for_a_while(hosted: FaultServer) -> None:
    with fault_server(Reply(500), Reply(500), Reply(500), OWN) as own:
        client = DeepSeekClient(backend="finetuned", url=own.url, fallback="deepseek", fallback_cooldown=60.0)
        assert client.analyze("一").model.fallback and client.analyze("二").model.fallback
        assert len(own.seen) == 3
        client._operations.cooldown._until = 0.0  # a minute later
        assert not client.analyze("三").model.fallback
    assert len(hosted.seen) == 2


def test_the_cooldown_ends_by_the_clock() -> None:
    now = [100.0]
    cooldown = Cooldown(10.0, clock=lambda: now[0])
    assert not cooldown.is_on
    cooldown.begin(ServerFailure("x"))
    now[0] = 109.9
    assert cooldown.is_on
    now[0] = 110.0
    assert not cooldown.is_on


@pytest.mark.parametrize("status", [401, 404, 422, 429])
def test_what_the_user_should_know_is_not_covered_up(hosted: FaultServer, status: int) -> None:
    with fault_server(Reply(status)) as own, pytest.raises(Exception) as caught:
        DeepSeekClient(backend="finetuned", url=own.url, fallback="deepseek", max_retries=0).analyze("加息")
    assert getattr(caught.value, "status", None) == status and hosted.seen == []


def test_an_adapter_and_a_comparison_are_the_own_servers_alone(hosted: FaultServer) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = DeepSeekClient(backend="finetuned", url=url, fallback="deepseek", max_retries=0)
    with pytest.raises(ConnectionFailed):
        client.analyze("加息", adapter="second")
    with pytest.raises(ConnectionFailed):
        client.compare("加息")
    [failure] = client.analyze_many(["加息"], adapter="second")
    assert isinstance(failure, ConnectionFailed) and hosted.seen == []


def test_when_both_fail_the_second_error_has_the_first_as_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    with fault_server(Reply(402)) as poor, pytest.raises(QuotaError) as caught:
        monkeypatch.setenv("DEEPSEEK_BASE_URL", poor.url)
        DeepSeekClient(backend="finetuned", url=f"http://127.0.0.1:{free_port()}", fallback="deepseek").analyze("加息")
    assert isinstance(caught.value.__cause__, ConnectionFailed)
    assert "余额不足" in str(caught.value) and "没有程序在监听" in str(caught.value)


def test_many_and_streams_fall_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    with fault_server(chat_reply(WRITTEN)) as server:
        monkeypatch.setenv("DEEPSEEK_BASE_URL", server.url)
        results = DeepSeekClient(backend="finetuned", url=url, fallback="deepseek").analyze_many(["一", "二"])
        assert [isinstance(each, NewsAnalysis) and each.model.fallback for each in results] == [True, True]
    with misbehaving_server(always(event_stream(*hosted_events()))) as streaming:
        monkeypatch.setenv("DEEPSEEK_BASE_URL", streaming.url)
        *_, last = DeepSeekClient(backend="finetuned", url=url, fallback="deepseek").stream("加息")
        assert isinstance(last, Done) and last.analysis.model.fallback

        async def ask() -> list[StreamPart[NewsAnalysis]]:
            async with AsyncDeepSeekClient(backend="finetuned", url=url, fallback="deepseek") as client:
                return [part async for part in client.stream("加息")]

        [*_, last] = asyncio.run(ask())
        assert isinstance(last, Done) and last.analysis.model.fallback


def test_the_policy_is_checked_when_a_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="DEEPSEEK_API_KEY.*去掉 FINTUNNEL_FALLBACK"):
        DeepSeekClient(backend="finetuned", fallback="deepseek")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    monkeypatch.setenv("FINTUNNEL_FALLBACK", "deepseek")
    DeepSeekClient(backend="deepseek")  # swapped back by one variable, the other may stay
    with pytest.raises(ConfigurationError, match="没有别的可换"):
        DeepSeekClient(backend="deepseek", fallback="deepseek")
    monkeypatch.setenv("FINTUNNEL_FALLBACK", "gpt")
    with pytest.raises(ConfigurationError, match="FINTUNNEL_FALLBACK"):
        DeepSeekClient(backend="finetuned")


def test_a_wrong_key_of_the_hosted_api_is_told(hosted: FaultServer) -> None:
    hosted.replies[:] = [Reply(401, json.dumps({"error": {"message": "no"}}).encode())]
    with pytest.raises(AuthenticationError, match="DEEPSEEK_API_KEY"):
        DeepSeekClient(backend="finetuned", url=f"http://127.0.0.1:{free_port()}", fallback="deepseek").analyze("加息")

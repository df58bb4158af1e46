"""Every call of both clients against the real app over HTTP; only the model is instant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fintunnel import (
    AsyncDeepSeekClient,
    AuthenticationError,
    Check,
    Comparison,
    ConfigurationError,
    ConnectionFailed,
    DeepSeekClient,
    Done,
    FinTunnelError,
    InvalidRequestError,
    Labels,
    NewsAnalysis,
    Passage,
    Progress,
    ReportAnswer,
    ReportRequest,
    TextPiece,
)
from fintunnel.local_server import free_port
from fintunnel.prompt import Message

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

REPORT = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
CHAT: list[Message] = [{"role": "user", "content": "你好"}]
Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, live_app: LiveApp) -> Ask:
    """`ask("analyze", "加息", …)` calls that method of a client; streams come as lists."""

    def call(name: str, *given: Any, url: str = live_app.url, key: str = "right-key", **named: Any) -> Any:
        options: dict[str, Any] = {"backend": "finetuned", "url": url, "api_key": key, "max_retries": 0}
        is_stream = name.startswith("stream")
        if request.param == "sync":
            with DeepSeekClient(**options) as client:
                result = getattr(client, name)(*given, **named)
                return list(result) if is_stream else result

        async def run() -> Any:
            async with AsyncDeepSeekClient(**options) as client:
                result = getattr(client, name)(*given, **named)
                return [part async for part in result] if is_stream else await result

        return asyncio.run(run())

    return call


def test_analyze(ask: Ask, engine: InstantEngine) -> None:
    analysis = ask("analyze", "美联储宣布加息25个基点", importance=4)
    assert isinstance(analysis, NewsAnalysis) and analysis.rationale == engine.text
    assert analysis.model.backend == "finetuned" and not analysis.model.fallback
    answer = ask("analyze", REPORT)
    assert isinstance(answer, ReportAnswer) and answer.answer == engine.text


def test_stream(ask: Ask, engine: InstantEngine) -> None:
    for request, field in (("加息", "rationale"), (REPORT, "answer")):
        first, *middle, last = ask("stream", request)
        assert isinstance(first, Labels) and getattr(first.analysis, field) is None
        assert "".join(part.text for part in middle if isinstance(part, TextPiece)) == engine.text
        assert isinstance(last, Done) and getattr(last.analysis, field) == engine.text
    labels, done = ask("stream", "加息", explain=False)
    assert isinstance(labels, Labels) and isinstance(done, Done) and done.analysis.rationale is None


def test_analyze_many(ask: Ask) -> None:
    seen: list[Progress] = []
    texts = ["加息", " ", *(f"第{number}条" for number in range(30))]
    results = ask("analyze_many", texts, on_progress=seen.append, explain=False)
    assert [isinstance(result, NewsAnalysis) for result in results] == [text != " " for text in texts]
    assert isinstance(results[1], InvalidRequestError) and len(seen) == 32
    mixed = ask("analyze_many", [REPORT, REPORT])
    assert all(isinstance(result, ReportAnswer) for result in mixed)


def test_compare(ask: Ask, engine: InstantEngine) -> None:
    compared = ask("compare", "加息")
    assert isinstance(compared, Comparison)
    assert compared.base.model.adapter is None and compared.tuned.model.adapter == "tuned"
    assert compared.changed == []
    engine.text = "另一种说法。"
    assert ask("compare", REPORT).tuned.answer == "另一种说法。"


def test_completions(ask: Ask, engine: InstantEngine) -> None:
    for answer in (ask("complete", "你好"), ask("complete_with_system", "你是分析师", "你好"), ask("chat", CHAT)):
        assert answer == engine.text and answer.backend == "finetuned" and answer.usage.completion_tokens > 0
    assert "".join(ask("stream_chat", CHAT)) == engine.text
    assert ask("complete", "你好", max_tokens=2).truncated


def test_check(ask: Ask, live_app: LiveApp) -> None:
    found = ask("check")
    assert isinstance(found, Check)
    assert (found.backend, found.url, found.model) == ("finetuned", live_app.url, "fintunnel")
    assert (found.base, found.adapter) == ("instant", "tuned")
    assert found.models == ["fintunnel", "tuned", "base"] and 0 < found.round_trip_ms < 5_000


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("analyze", "加息"),
        ("stream", "加息"),
        ("complete", "x"),
        ("stream_chat", CHAT),
        ("compare", "x"),
        ("check", None),
    ],
)
def test_a_wrong_key_is_told_by_every_call(ask: Ask, name: str, given: Any) -> None:
    with pytest.raises(AuthenticationError, match="FINTUNNEL_API_KEY") as caught:
        ask(name, *([] if given is None else [given]), key="wrong-key")
    assert caught.value.status == 401 and caught.value.request_id and "wrong-key" not in str(caught.value)
    [failure] = ask("analyze_many", ["加息"], key="wrong-key")
    assert isinstance(failure, AuthenticationError)


def test_nobody_there_is_told_by_check(ask: Ask) -> None:
    with pytest.raises(ConnectionFailed, match="fintunnel serve"):
        ask("check", url=f"http://127.0.0.1:{free_port()}")


def test_the_hosted_api_has_no_base_and_no_adapter_to_compare() -> None:
    client = DeepSeekClient(backend="deepseek", api_key="k")
    with pytest.raises(ConfigurationError, match="FINTUNNEL_BACKEND=finetuned"):
        client.compare("加息")
    with pytest.raises(ConfigurationError, match="没有适配器"):
        client.analyze("加息", adapter="base")
    [failure] = client.analyze_many(["加息"], adapter="base")
    assert isinstance(failure, ConfigurationError)


def test_what_is_wrong_with_a_request_is_told_before_it_is_sent(ask: Ask) -> None:
    with pytest.raises(InvalidRequestError, match="空白"):
        ask("analyze", " ")
    with pytest.raises(InvalidRequestError, match="importance"):
        ask("analyze", "加息", importance=9)
    with pytest.raises(InvalidRequestError, match="没有这个字段"):
        ask("analyze", "加息", importants=3)
    with pytest.raises(TypeError, match="explain"):
        ask("analyze", REPORT, explain=False)
    with pytest.raises(InvalidRequestError, match="代理字符"):
        ask("complete", "坏\ud800字")


def test_the_servers_limits_are_typed_errors(ask: Ask, engine: InstantEngine) -> None:
    engine.context_tokens = 20
    with pytest.raises(FinTunnelError) as caught:
        ask("complete", "长" * 500)
    assert caught.value.code == "prompt_too_long"
    engine.context_tokens = 1024
    with run_app(engine, api_key="right-key", rate_limit="1/minute") as strict:
        ask("complete", "一", url=strict.url)
        with pytest.raises(FinTunnelError) as caught:
            ask("complete", "二", url=strict.url)
    assert caught.value.code == "rate_limited" and caught.value.retry_after and "秒后再试" in caught.value.advice

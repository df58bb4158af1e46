"""The real client against the real app over HTTP; only the model is instant."""

from __future__ import annotations

import pytest
from fintunnel import (
    AuthenticationError,
    Context,
    DeepSeekClient,
    Figures,
    InvalidRequestError,
    Passage,
    ReportRequest,
    ServerFailure,
)
from fintunnel.compat import DeepseekClient

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp


@pytest.fixture
def client(live_app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> DeepSeekClient:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    monkeypatch.setenv("FINTUNNEL_URL", live_app.url)
    monkeypatch.setenv("FINTUNNEL_API_KEY", "right-key")
    return DeepSeekClient()


def test_a_headline_becomes_an_analysis(client: DeepSeekClient, engine: InstantEngine) -> None:
    engine.weights = {"true": 3.0}
    analysis = client.analyze(
        "美国7月CPI年率",
        importance=4,
        figures=Figures(actual=2.7, consensus=2.8, unit="%"),
        context=Context(pre_return=0.001, volatility=0.003, typical_move=0.0005),
    )
    assert analysis.signals == ["priced_in", "wait_and_see"]
    assert analysis.rationale == engine.text and analysis.model.backend == "finetuned"
    assert analysis.timing_ms.total >= 0 and analysis.usage.prompt_tokens > 0


def test_a_report_question_becomes_an_answer(client: DeepSeekClient, engine: InstantEngine) -> None:
    engine.weights = {"0": 9.0}
    passages = [Passage(text="营收1亿元", source="年报", page=3)]
    answer = client.analyze(ReportRequest(question="营收？", passages=passages))
    assert answer.citations == [0] and answer.answer == engine.text


def test_completions_come_as_text(client: DeepSeekClient, engine: InstantEngine) -> None:
    assert client.complete("你好", timeout_seconds=5) == engine.text
    assert client.complete_with_system("你是分析师", "你好") == engine.text
    del client
    assert DeepseekClient().complete("你好") == engine.text


def test_failures_are_typed_and_carry_the_request_id(
    client: DeepSeekClient, live_app: LiveApp, engine: InstantEngine
) -> None:
    with pytest.raises(InvalidRequestError) as unknown:
        client.analyze("加息", adapter="other")
    assert unknown.value.code == "unknown_model" and unknown.value.request_id
    with pytest.raises(AuthenticationError):
        DeepSeekClient(url=live_app.url, api_key="wrong").analyze("加息")
    engine.failure = RuntimeError("broken")
    with pytest.raises(ServerFailure) as broken:
        client.analyze("加息")
    assert broken.value.request_id and broken.value.request_id.startswith("req-")

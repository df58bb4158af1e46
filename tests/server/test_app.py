from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from fintunnel.wire import ErrorBody, NewsAnalysis, ReportAnswer
from fintunnel_server import app as app_module
from fintunnel_server.app import create_app
from fintunnel_server.errors import EngineBusy
from fintunnel_server.settings import ServerSettings

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

NEWS = {"task": "news", "text": "美联储宣布加息25个基点"}
OPEN = ("/health", "/ready")
CONTEXT = {"pre_return": 0.001, "volatility": 0.003, "typical_move": 0.0005}
REPORT = {
    "task": "report",
    "question": "营收多少？",
    "passages": [{"text": "营收1亿元", "source": "甲"}, {"text": "成本2亿元", "source": "乙"}],
}


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    body = ErrorBody.model_validate(response.json()).error
    assert body.request_id == response.headers["x-request-id"]
    return response.status_code, body.code.value, body.param


def test_news_is_scored_field_by_field(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.weights = {"high": 8.0, "bullish": 3.0, "true": 0.5}
    analysis = NewsAnalysis.model_validate(live_app.post("/analyze", json=NEWS | {"context": CONTEXT}).json())
    assert analysis.impact == "high" and analysis.impact_probs == {"low": 0.1, "medium": 0.1, "high": 0.8}
    assert analysis.direction == "bullish" and analysis.direction_probs is not None
    assert sum(analysis.direction_probs.values()) == pytest.approx(1)
    assert analysis.signals == [] and analysis.signal_probs is not None
    assert analysis.signal_probs["priced_in"] == pytest.approx(1 / 3)
    assert analysis.rationale == engine.text
    assert analysis.model.adapter == "tuned" and analysis.model.backend == "finetuned"
    # What the rationale was asked to continue is the answer's JSON, every label in it.
    prefix, _ = engine.calls[-1]
    assert json.loads(prefix + '"}') == {
        "impact": "high",
        "direction": "bullish",
        "signals": {"priced_in": False, "wait_and_see": False},
        "rationale": "",
    }


def test_signals_are_null_without_context(live_app: LiveApp, engine: InstantEngine) -> None:
    analysis = NewsAnalysis.model_validate(live_app.post("/analyze", json=NEWS).json())
    assert analysis.signals is None and analysis.signal_probs is None
    assert '"signals":null,"rationale":"' in engine.calls[-1][0]


def test_direction_is_the_marginal_over_impacts(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.weights = {"low": 5.0, "medium": 3.0, "high": 2.0}
    engine.weights_after = {
        '{"impact":"low","direction":"': {"bearish": 8.0},
        '{"impact":"medium","direction":"': {"neutral": 8.0},
        '{"impact":"high","direction":"': {"bullish": 8.0},
    }
    analysis = NewsAnalysis.model_validate(live_app.post("/analyze", json=NEWS | {"explain": False}).json())
    assert analysis.direction_probs == pytest.approx(
        {
            "bearish": 0.5 * 0.8 + 0.3 * 0.1 + 0.2 * 0.1,
            "neutral": 0.5 * 0.1 + 0.3 * 0.8 + 0.2 * 0.1,
            "bullish": 0.5 * 0.1 + 0.3 * 0.1 + 0.2 * 0.8,
        }
    )


def test_nothing_is_generated_without_explain(live_app: LiveApp) -> None:
    analysis = live_app.post("/analyze", json=NEWS | {"explain": False}).json()
    assert analysis["rationale"] is None and analysis["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("text", ['坏"引号', "反斜杠\\", "换\\n行", "控制\x00符\n", "</news>", "\\ud800", ""])
def test_whatever_the_model_writes_the_answer_is_valid(live_app: LiveApp, engine: InstantEngine, text: str) -> None:
    engine.text = text
    analysis = NewsAnalysis.model_validate_json(live_app.post("/analyze", json=NEWS).content)
    assert analysis.rationale is not None and "\n" not in analysis.rationale


def test_report_citations_are_indices_in_ascending_order(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.weights = {"0": 5.0, "1": 3.0, "": 2.0}
    answer = ReportAnswer.model_validate(live_app.post("/analyze", json=REPORT).json())
    assert answer.citations == [0, 1] and answer.answer == engine.text
    engine.weights = {"": 9.0}
    assert ReportAnswer.model_validate(live_app.post("/analyze", json=REPORT).json()).citations == []


def test_base_answers_without_the_adapter(live_app: LiveApp, engine: InstantEngine) -> None:
    analysis = live_app.post("/analyze", json=NEWS | {"adapter": "base"}).json()
    assert analysis["model"]["adapter"] is None and analysis["edges"] is None
    assert {adapter for _, adapter in engine.calls[-5:]} == {None}


def test_long_news_is_shortened_and_says_so(live_app: LiveApp) -> None:
    assert live_app.post("/analyze", json=NEWS | {"text": "金" * 4000}).json()["truncated"] is True
    assert live_app.post("/analyze", json=NEWS).json()["truncated"] is False


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "invalid_json", None)),
        (b"", (422, "invalid_request", None)),
        (b'"text"', (422, "invalid_request", None)),
        (b'{"task": "news"}', (422, "invalid_request", "text")),
        (b'{"task": "poem", "text": "x"}', (422, "invalid_request", "task")),
        (b'{"text": "x"}', (422, "invalid_request", "task")),
        (b'{"task": "news", "text": "x", "mood": 1}', (422, "invalid_request", "mood")),
        (b'{"task": "news", "text": " "}', (422, "invalid_request", "text")),
        (b'{"task": "news", "text": "x", "importance": 9}', (422, "invalid_request", "importance")),
        (b'{"task": "news", "text": "x", "adapter": "other"}', (404, "unknown_model", "adapter")),
        (b'{"task": "news", "text": "x", "figures": {"actual": NaN}}', (422, "invalid_request", "figures.actual")),
        (b'{"task": "report", "question": "x", "passages": []}', (422, "invalid_request", "passages")),
        (b'{"task": "news", "text": "\\ud800"}', (422, "invalid_request", "text")),
        (
            b'{"task": "news", "text": "x", "published_at": "0001-01-01T00:00:00+14:00"}',
            (422, "invalid_request", "published_at"),
        ),
        (b"\xff\xfe", (400, "invalid_json", None)),
        (b"[" * 100_000, (400, "invalid_json", None)),
    ],
)
def test_bad_input_gets_the_error_body(live_app: LiveApp, body: bytes, expected: tuple[int, str, str | None]) -> None:
    response = live_app.post("/analyze", content=body, headers={"Content-Type": "application/json"})
    assert error(response) == expected


def test_errors_do_not_echo_what_was_sent(live_app: LiveApp) -> None:
    response = live_app.post("/analyze", json=NEWS | {"importance": "秘密" * 5, "task": "news"})
    assert "秘密" not in response.text


def test_report_too_long_to_shorten_is_422(live_app: LiveApp) -> None:
    response = live_app.post("/analyze", json=REPORT | {"question": "问" * 1000, "max_tokens": 512})
    assert error(response) == (422, "prompt_too_long", None)


def test_other_errors_have_the_same_body(live_app: LiveApp) -> None:
    assert error(live_app.post("/nowhere", json={})) == (404, "not_found", None)
    assert error(httpx.get(f"{live_app.url}/analyze", trust_env=False)) == (405, "method_not_allowed", None)
    form = live_app.post("/analyze", data={"a": "b"})
    assert error(form) == (415, "unsupported_media_type", None)
    large = {"task": "news", "text": "x" * 300_000}
    assert error(live_app.post("/analyze", json=large)) == (413, "body_too_large", None)


def test_a_large_body_without_a_length_is_cut_off(live_app: LiveApp) -> None:
    pieces = (b"x" * 50_000 for _ in range(10))
    response = live_app.post("/analyze", content=pieces, headers={"Content-Type": "application/json"})
    assert error(response) == (413, "body_too_large", None)


def test_a_body_in_pieces_is_put_together(live_app: LiveApp) -> None:
    whole = json.dumps(NEWS).encode()
    pieces = (whole[i : i + 7] for i in range(0, len(whole), 7))
    response = live_app.post("/analyze", content=pieces, headers={"Content-Type": "application/json; charset=utf-8"})
    assert response.status_code == 200


def test_an_unexpected_failure_is_500_without_its_details(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.failure = RuntimeError("secret detail")
    response = live_app.post("/analyze", json=NEWS)
    assert error(response) == (500, "internal_error", None)
    assert "secret" not in response.text


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer", "right-key", "Basic right-key", "Bearer right-keyx", "Bearer ключ"]
)
def test_every_route_but_the_probes_asks_for_the_key(live_app: LiveApp, header: str | None) -> None:
    headers = httpx.Headers([(b"authorization", header.encode())] if header else [])
    paths = create_app(ServerSettings(), InstantEngine()).openapi()["paths"]
    guarded = [(path, method) for path, methods in paths.items() for method in methods if path not in OPEN]
    assert {path for path, _ in guarded} >= {"/analyze", "/analyze/batch", "/v1/chat/completions", "/metrics"}
    for path, method in guarded:
        body = NEWS if method == "post" else None
        response = httpx.request(method, live_app.url + path, json=body, headers=headers, trust_env=False)
        assert error(response) == (401, "invalid_api_key", None)
    assert httpx.get(f"{live_app.url}/health", trust_env=False).status_code == 200


def test_a_trailing_slash_is_not_redirected_to_a_host_of_the_callers_choice(live_app: LiveApp) -> None:
    response = live_app.post("/analyze/", json=NEWS, headers={"Host": "evil.example"})
    assert error(response) == (404, "not_found", None)


def test_probes_answer_head(live_app: LiveApp) -> None:
    assert httpx.head(f"{live_app.url}/health", trust_env=False).status_code == 200


def test_without_a_key_loopback_is_open(engine: InstantEngine) -> None:
    with run_app(engine, api_key=None) as app:
        assert httpx.post(f"{app.url}/analyze", json=NEWS, trust_env=False).status_code == 200
    assert engine.closed


def test_probes_have_no_body_and_ready_means_that_the_model_answered(engine: InstantEngine) -> None:
    engine.failure = RuntimeError("the model is broken")
    with run_app(engine, api_key=None) as app:
        health = httpx.get(f"{app.url}/health", trust_env=False)
        assert (health.status_code, health.content) == (200, b"")
        assert error(httpx.get(f"{app.url}/ready", trust_env=False)) == (503, "not_ready", None)
    engine.failure = None
    with run_app(engine, api_key=None) as app:
        deadline = time.monotonic() + 5
        while httpx.get(f"{app.url}/ready", trust_env=False).status_code == 503:
            assert time.monotonic() < deadline
        ready = httpx.get(f"{app.url}/ready", trust_env=False)
        assert (ready.status_code, ready.content) == (200, b"")


def test_a_self_test_that_failed_is_repeated(engine: InstantEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream may be too busy at first."""
    monkeypatch.setattr(app_module, "_RETEST_SECONDS", 0.05)
    engine.failure = EngineBusy("busy")
    with run_app(engine, api_key=None) as app:
        assert httpx.get(f"{app.url}/ready", trust_env=False).status_code == 503
        engine.failure = None
        deadline = time.monotonic() + 5
        while httpx.get(f"{app.url}/ready", trust_env=False).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_chat_has_openais_shape(live_app: LiveApp, engine: InstantEngine) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "你好"}], "max_tokens": 20, "temperature": 0.7}
    answer = live_app.post("/v1/chat/completions", json=body).json()
    assert answer["object"] == "chat.completion" and answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": engine.text}
    assert answer["usage"]["total_tokens"] == 2 + len(engine.text)
    live_app.post("/v1/chat/completions", json=body | {"model": "base"})
    assert engine.calls[-2:] == [("", "tuned"), ("", None)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tools": []}, (422, "invalid_request", "tools")),
        ({"model": "gpt-4"}, (404, "unknown_model", "model")),
        ({"messages": []}, (422, "invalid_request", "messages")),
        ({"messages": [{"role": "user", "content": "长" * 2000}]}, (422, "prompt_too_long", None)),
    ],
)
def test_chat_refuses_what_it_does_not_serve(
    live_app: LiveApp, change: dict[str, Any], expected: tuple[int, str, str | None]
) -> None:
    body = {"messages": [{"role": "user", "content": "你好"}]} | change
    assert error(live_app.post("/v1/chat/completions", json=body)) == expected

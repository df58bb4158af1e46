from __future__ import annotations

import json
import time

import pytest
from fintunnel import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    Context,
    DeepSeekClient,
    InvalidRequestError,
    MalformedAnswerError,
    NewsRequest,
    Passage,
    QuotaError,
    RateLimitError,
    ReportRequest,
    RequestTimeout,
    ServerFailure,
    TunnelError,
)
from fintunnel.local_server import free_port
from fintunnel.prompt import render_prompt

from tests.client.fault_server import Reply, chat_reply, fault_server

CONTEXT = Context(pre_return=0.001, volatility=0.003, typical_move=0.0005)
GOOD = json.dumps(
    {
        "impact": "high",
        "direction": "bearish",
        "signals": {"priced_in": True, "wait_and_see": False},
        "rationale": "美元走强。",
    },
    ensure_ascii=False,
)


def test_hosted_analysis_renders_our_prompt_and_has_no_invented_probabilities() -> None:
    request = NewsRequest(text="美联储宣布加息25个基点", context=CONTEXT)
    with fault_server(chat_reply(GOOD)) as server:
        analysis = DeepSeekClient(backend="deepseek", url=server.url, api_key="ds-key").analyze(request)
    sent = server.seen[0]
    assert sent.path == "/chat/completions"
    assert sent.headers["authorization"] == "Bearer ds-key"
    assert sent.body["messages"] == render_prompt(request).messages()
    assert sent.body["response_format"] == {"type": "json_object"}
    assert sent.body["thinking"] == {"type": "disabled"}
    assert (analysis.impact, analysis.direction, analysis.signals) == ("high", "bearish", ["priced_in"])
    assert analysis.impact_probs is None and analysis.direction_probs is None and analysis.signal_probs is None
    assert analysis.model.backend == "deepseek" and analysis.model.base == "deepseek-flash"
    assert analysis.usage.prompt_tokens == 11


def test_hosted_signals_are_null_without_context() -> None:
    with fault_server(chat_reply(GOOD)) as server:
        analysis = DeepSeekClient(backend="deepseek", url=server.url, api_key="k").analyze("加息")
    assert analysis.signals is None


def test_hosted_report_answer_is_validated() -> None:
    request = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
    with fault_server(
        chat_reply('{"citations":[0],"answer":"1亿元"}'), chat_reply('{"citations":[3],"answer":"1亿元"}')
    ) as server:
        client = DeepSeekClient(backend="deepseek", url=server.url, api_key="k")
        assert client.analyze(request).citations == [0]
        with pytest.raises(MalformedAnswerError, match="不存在的资料"):
            client.analyze(request)


@pytest.mark.parametrize(
    "content", ["", "我认为利好", '{"impact":"huge","direction":"bullish","rationale":"x"}', "[1]"]
)
def test_hosted_answer_that_breaks_the_schema_is_an_error(content: str) -> None:
    with fault_server(chat_reply(content)) as server, pytest.raises(MalformedAnswerError):
        DeepSeekClient(backend="deepseek", url=server.url, api_key="k").analyze("加息")


def test_keys_stay_with_their_own_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "hosted-secret")
    monkeypatch.setenv("FINTUNNEL_API_KEY", "own-secret")
    with fault_server(chat_reply("好")) as server:
        DeepSeekClient(backend="finetuned", url=server.url).complete("你好")
        DeepSeekClient(backend="deepseek", url=server.url).complete("你好")
    own, hosted = server.seen
    assert own.headers["authorization"] == "Bearer own-secret" and "hosted-secret" not in str(own)
    assert hosted.headers["authorization"] == "Bearer hosted-secret" and "own-secret" not in str(hosted)
    assert own.path == "/v1/chat/completions" and "thinking" not in own.body


def test_variables_without_our_prefix_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", "https://stranger.example")
    monkeypatch.setenv("BACKEND", "finetuned")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "hosted-secret")
    client = DeepSeekClient()
    assert client.backend == "deepseek" and "stranger" not in client.url


def test_backend_is_read_from_the_environment_when_a_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "finetuned")
    assert DeepSeekClient().url == "http://127.0.0.1:8000"
    monkeypatch.setenv("FINTUNNEL_BACKEND", "deepseek")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    monkeypatch.setenv("DEEPSEEK_API_BASE", "https://proxy.example/v1/")
    assert DeepSeekClient().url == "https://proxy.example/v1"


def test_unknown_backend_says_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_BACKEND", "gpt")
    with pytest.raises(ConfigurationError, match="只能是 deepseek 或 finetuned"):
        DeepSeekClient()


def test_an_address_without_the_backend_is_the_slip_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_URL", "http://127.0.0.1:8000")
    with pytest.raises(ConfigurationError, match="请设 FINTUNNEL_BACKEND=finetuned"):
        DeepSeekClient()


def test_a_missing_key_is_not_told_as_a_wrong_one_and_the_port_is_named() -> None:
    with fault_server(Reply(401, b"{}")) as server:
        with pytest.raises(AuthenticationError, match="请把 FINTUNNEL_API_KEY 设成"):
            DeepSeekClient(backend="finetuned", url=server.url).analyze("加息")
        with pytest.raises(AuthenticationError, match="要与服务那边的一样"):
            DeepSeekClient(backend="finetuned", url=server.url, api_key="some-key").analyze("加息")
    port = free_port()
    with pytest.raises(ConnectionFailed, match=f"连不上 127.0.0.1:{port}：") as caught:
        DeepSeekClient(backend="finetuned", url=f"http://127.0.0.1:{port}").analyze("加息")
    assert "FINTUNNEL_TIMEOUT" not in caught.value.advice  # it would not help


def test_hosted_backend_without_a_key_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="DEEPSEEK_API_KEY"):
        DeepSeekClient(backend="deepseek")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (402, QuotaError),
        (404, InvalidRequestError),
        (422, InvalidRequestError),
        (429, RateLimitError),
        (500, ServerFailure),
        (503, ServerFailure),
    ],
)
def test_error_statuses_are_typed(status: int, kind: type[APIError]) -> None:
    body = {"error": {"message": "why", "type": "t", "code": "some_code", "param": None, "request_id": "req-1"}}
    with (
        fault_server(Reply(status, json.dumps(body).encode())) as server,
        pytest.raises(kind, match="why") as caught,
    ):
        DeepSeekClient(backend="finetuned", url=server.url).analyze("加息")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "some_code", "req-1")


@pytest.mark.parametrize("body", [b"", b"not json", b'{"error": "text"}', b'{"error": {"message": null}}'])
def test_an_error_body_of_any_form_is_survived(body: bytes) -> None:
    with fault_server(Reply(500, body)) as server, pytest.raises(ServerFailure):
        DeepSeekClient(backend="finetuned", url=server.url).analyze("加息")


def test_dead_tunnel_is_told_from_the_server() -> None:
    offline = Reply(404, b"<html>offline</html>", {"Ngrok-Error-Code": "ERR_NGROK_3200"})
    with fault_server(offline) as server, pytest.raises(TunnelError, match="ERR_NGROK_3200"):
        DeepSeekClient(backend="finetuned", url=server.url).analyze("加息")


def test_a_web_page_is_not_an_answer() -> None:
    with fault_server(Reply(200, b"<!DOCTYPE html><html>")) as server, pytest.raises(TunnelError, match="网页"):
        DeepSeekClient(backend="finetuned", url=server.url).complete("你好")


def test_another_service_at_the_address_is_a_malformed_answer() -> None:
    with fault_server(Reply(200, b'{"hello": 1}')) as server, pytest.raises(MalformedAnswerError):
        DeepSeekClient(backend="finetuned", url=server.url).analyze("加息")


def test_nobody_listening_is_a_connection_error_that_says_what_to_check() -> None:
    with pytest.raises(ConnectionFailed, match="fintunnel serve"):
        DeepSeekClient(backend="finetuned", url=f"http://127.0.0.1:{free_port()}").analyze("加息")


def test_bytes_that_keep_the_line_alive_do_not_stretch_the_deadline() -> None:
    with fault_server(Reply(drip=0.1, drips=50)) as server:
        began = time.monotonic()
        with pytest.raises(RequestTimeout):
            DeepSeekClient(backend="finetuned", url=server.url).complete("你好", timeout_seconds=0.5)
        assert time.monotonic() - began < 2


def test_loopback_is_reached_past_a_dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with fault_server(chat_reply("好")) as server:
        assert DeepSeekClient(backend="finetuned", url=server.url).complete("你好") == "好"


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://[::1", "http://"])
def test_an_unusable_address_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        DeepSeekClient(backend="finetuned", url=url).complete("你好", timeout_seconds=1)


def test_a_key_is_stripped_and_an_impossible_one_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with fault_server(chat_reply("好")) as server:
        monkeypatch.setenv("FINTUNNEL_API_KEY", "sentinel-key ")  # what `set X=… && …` leaves on Windows
        DeepSeekClient(backend="finetuned", url=server.url).complete("你好")
        assert server.seen[0].headers["authorization"] == "Bearer sentinel-key"
        for bad in ("   ", "密钥sentinel", "sentinel key", "sentinel\nkey"):
            monkeypatch.setenv("FINTUNNEL_API_KEY", bad)
            with pytest.raises(ConfigurationError) as caught:
                DeepSeekClient(backend="finetuned", url=server.url)
            assert "sentinel" not in str(caught.value)
            with pytest.raises(ConfigurationError) as caught:
                DeepSeekClient(backend="deepseek", url=server.url, api_key=bad)
            assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize("usage", ["null", "[]", '{"prompt_tokens": null}', '{"prompt_tokens": "many"}'])
def test_odd_token_counts_do_not_spoil_an_answer(usage: str) -> None:
    reply = chat_reply(GOOD)
    body = json.loads(reply.body) | {"usage": json.loads(usage)}
    with fault_server(Reply(body=json.dumps(body).encode())) as server:
        analysis = DeepSeekClient(backend="deepseek", url=server.url, api_key="k").analyze("加息")
    assert analysis.usage.prompt_tokens == 0


def test_a_redirect_is_not_followed() -> None:
    elsewhere = Reply(307, b"", {"Location": "http://127.0.0.1:9/steal"})
    with fault_server(elsewhere) as server, pytest.raises(InvalidRequestError, match="重定向"):
        DeepSeekClient(backend="finetuned", url=server.url).complete("你好")


def test_blank_news_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequestError, match="空白"):
        DeepSeekClient(backend="finetuned").analyze("   ")

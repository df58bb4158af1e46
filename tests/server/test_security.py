"""Who may ask, how often and how much; what an answer tells a browser, and a log nobody."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from pathlib import Path

import httpx
import pytest
from fintunnel_server.errors import SettingsError
from fintunnel_server.running.logs import log_to_stderr
from fintunnel_server.settings import ServerSettings, load_settings, named_keys

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

NEWS = {"task": "news", "text": "美联储宣布加息25个基点", "explain": False}
KEYS = {"agent": "key-of-the-agent", "laptop": "key-of-the-laptop"}


def ask(app: LiveApp, key: str | None, path: str = "/analyze", body: object = NEWS) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.post(app.url + path, json=body, headers=headers, trust_env=False)


def test_any_of_the_keys_opens_and_nothing_else_does(engine: InstantEngine) -> None:
    with run_app(engine, api_key="the-default-key", api_keys=KEYS) as app:
        for key in ("the-default-key", *KEYS.values()):
            assert ask(app, key).status_code == 200
        refused = [ask(app, key) for key in (None, "key-of-the-agen", "agent", "agent:key-of-the-agent")]
    assert {answer.status_code for answer in refused} == {401}
    # One answer to all of them: which it was helps only whoever guesses.
    bodies = {re.sub(r"req-\w+", "", answer.text) for answer in refused}
    assert len(bodies) == 1 and {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}


def test_a_revoked_key_is_a_wrong_key(engine: InstantEngine) -> None:
    with run_app(engine, api_key=None, api_keys=KEYS) as app:
        assert ask(app, KEYS["agent"]).status_code == 200
    with run_app(engine, api_key=None, api_keys={"laptop": KEYS["laptop"]}) as app:
        assert ask(app, KEYS["agent"]).status_code == 401 and ask(app, KEYS["laptop"]).status_code == 200


@pytest.mark.parametrize(
    "text", ["key", "a:b c", "a:", ":k", "a:k,a:l", "a:k,b:k", "default:k", "a b:k", "甲:k", "a:钥", "a:k,,b:l"]
)
def test_keys_written_wrongly_are_refused_without_being_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_API_KEYS", text)
    with pytest.raises(SettingsError, match="FINTUNNEL_API_KEYS") as caught:
        load_settings()
    assert "钥" not in str(caught.value).replace("密钥", "")


def test_named_keys_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_keys("agent:k1, laptop : k:2 ") == {"agent": "k1", "laptop": "k:2"}
    monkeypatch.setenv("FINTUNNEL_API_KEYS", "agent:k1")
    monkeypatch.setenv("FINTUNNEL_API_KEY", "k2")
    assert {name: key.get_secret_value() for name, key in load_settings().keys.items()} == {
        "agent": "k1",
        "default": "k2",
    }


def test_variables_without_our_prefix_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "PAGE", "RATE_LIMIT", "LOG_FORMAT", "ADAPTER_ROOT", "MAX_ROWS"):
        monkeypatch.setenv(name, "3")
    assert not load_settings().keys and load_settings().page
    assert load_settings().max_rows == 16 and load_settings().adapter_root is None


def test_a_key_that_asks_too_often_is_told_when_to_come_again(engine: InstantEngine) -> None:
    with run_app(engine, api_key=None, api_keys=KEYS, rate_limit="3/minute") as app:
        assert [ask(app, KEYS["agent"]).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = ask(app, KEYS["agent"])
        assert refused.json()["error"]["code"] == "rate_limited" and 1 <= int(refused.headers["retry-after"]) <= 60
        assert ask(app, KEYS["laptop"]).status_code == 200
        assert httpx.get(f"{app.url}/health", trust_env=False).status_code == 200


def test_each_item_of_a_batch_counts(engine: InstantEngine) -> None:
    with run_app(engine, api_key="k", rate_limit="10/minute") as app:
        batch = {"items": [NEWS] * 8}
        assert ask(app, "k", "/analyze/batch", batch).status_code == 200
        assert ask(app, "k", "/analyze/batch", batch).status_code == 429
        assert ask(app, "k").status_code == 200


@pytest.mark.parametrize("rate", ["often", "-1/minute", "0/minute", "5", ""])
def test_a_rate_that_is_none_is_refused(rate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_RATE_LIMIT", rate)
    if rate:  # an empty variable counts as none
        with pytest.raises(SettingsError, match="FINTUNNEL_RATE_LIMIT"):
            load_settings()
    else:
        assert load_settings().rate_limit == ServerSettings().rate_limit


def test_a_batch_may_be_larger_than_a_request_and_not_any_size(live_app: LiveApp) -> None:
    large = {"items": [NEWS | {"text": "金" * 4000}] * 30}
    assert live_app.post("/analyze/batch", json=large).status_code == 200
    refused = live_app.post("/analyze", json=large)
    assert refused.status_code == 413 and refused.headers["connection"] == "close"
    assert live_app.post("/analyze/batch", content=b" " * 3_000_000, headers=JSON).status_code == 413


JSON = {"Content-Type": "application/json"}


def test_every_answer_carries_the_security_headers_and_no_version(live_app: LiveApp, engine: InstantEngine) -> None:
    answers = [
        live_app.post("/analyze", json=NEWS),
        live_app.post("/analyze/stream", json=NEWS),
        live_app.post("/analyze", json={}),
        live_app.post("/nowhere", json={}),
        ask(live_app, None),
        httpx.get(f"{live_app.url}/health", trust_env=False),
    ]
    engine.failure = RuntimeError("boom")
    answers.append(live_app.post("/analyze", json=NEWS))
    assert [answer.status_code for answer in answers] == [200, 200, 422, 404, 401, 200, 500]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store" and answer.headers["x-frame-options"] == "DENY"
        assert re.fullmatch(r"req-[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "server" not in answer.headers and "uvicorn" not in str(answer.headers).lower()


def test_json_says_that_it_is_utf_8(live_app: LiveApp) -> None:
    """Windows PowerShell 5.1 takes JSON without a charset for Latin-1."""
    for body in (NEWS, {}):
        assert live_app.post("/analyze", json=body).headers["content-type"] == "application/json; charset=utf-8"


def test_other_origins_are_closed_unless_named(engine: InstantEngine) -> None:
    origin = {"Origin": "https://page.example"}
    preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with run_app(engine, api_key="k") as app:
        assert "access-control-allow-origin" not in httpx.post(
            f"{app.url}/analyze", json=NEWS, headers={**origin, "Authorization": "Bearer k"}, trust_env=False
        ).headers  # fmt: skip
        assert httpx.options(f"{app.url}/analyze", headers=preflight, trust_env=False).status_code == 405
    with run_app(engine, api_key="k", cors_origins="https://page.example, https://b.example/") as app:
        allowed = httpx.options(f"{app.url}/analyze", headers=preflight, trust_env=False)
        assert allowed.headers["access-control-allow-origin"] == "https://page.example"
        assert "access-control-allow-credentials" not in allowed.headers
        other = httpx.options(
            f"{app.url}/analyze", headers={**preflight, "Origin": "https://c.example"}, trust_env=False
        )
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origins", ["*", "page.example", "https://a.example/path"])
def test_an_origin_that_is_none_is_refused(origins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINTUNNEL_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="来源"):
        load_settings()


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_has_each_requests_id_and_no_secret(
    engine: InstantEngine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    log_to_stderr("json" if form == "json" else "text")
    try:
        with run_app(engine, api_key=None, api_keys=KEYS) as app:
            answered = ask(app, KEYS["agent"])
            ask(app, "wrong-key-of-a-stranger", "/analyze?api_key=key-in-the-query")
            httpx.get(f"{app.url}/%0aINFO%20forged%E9%87%91", trust_env=False)
            engine.failure = RuntimeError("what went wrong")
            failed = ask(app, KEYS["laptop"])
            httpx.get(f"{app.url}/health", trust_env=False)
    finally:
        root.setLevel(level)
    log = capfd.readouterr().err
    for secret in (*KEYS.values(), "wrong-key", "key-in-the-query", "加息"):
        assert secret not in log
    number = failed.json()["error"]["request_id"]
    assert answered.headers["x-request-id"] in log and "what went wrong" in log and "/health" not in log
    assert "\nINFO" not in log and "forged" in log
    if form == "json":
        lines = [json.loads(line) for line in log.splitlines()]
        access = [line for line in lines if line["logger"] == "fintunnel.access"]
        assert [line["status"] for line in access] == [200, 401, 404, 500]
        assert [line["key"] for line in access] == ["agent", None, None, "laptop"]
        assert access[0]["path"] == "/analyze" and access[0]["method"] == "POST" and access[0]["ms"] >= 0
        assert access[1]["code"] == "invalid_api_key"
        assert {line["request_id"] for line in lines if "what went wrong" in json.dumps(line)} == {number}
    else:
        assert log.count(number) >= 2  # the failure and the request


@pytest.mark.parametrize("path", ["/analyze", "/analyze/stream", "/analyze/batch", "/v1/chat/completions"])
def test_a_path_with_a_line_end_reaches_no_route_past_its_guards(live_app: LiveApp, path: str) -> None:
    for end in ("%0A", "%0a", "%0d", "%00", "/"):
        refused = live_app.post(path + end, content=b"{}", headers={"Content-Type": "text/plain"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


def test_a_stranger_is_refused_before_anything_of_the_body_is_read(live_app: LiveApp) -> None:
    port = int(live_app.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
        stranger.sendall(
            b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
        )
        assert stranger.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_strangers_who_try_many_keys_have_to_wait_and_callers_do_not(live_app: LiveApp) -> None:
    if time.time() % 60 > 50:  # the window is a minute of the clock: not across its end
        time.sleep(60 - time.time() % 60)
    statuses = [ask(live_app, f"guess-{number}").status_code for number in range(70)]
    assert statuses[:60] == [401] * 60 and set(statuses[60:]) == {429}
    assert ask(live_app, "right-key").status_code == 200


def test_a_server_without_a_key_is_not_asked_under_another_name(engine: InstantEngine) -> None:
    """A page whose host name leads to this machine (DNS rebinding)."""
    with run_app(engine, api_key=None) as app:
        for host, status in (("evil.example", 401), ("evil.example:8000", 401), ("[", 401), ("localhost:8000", 200),
                             ("127.0.0.1", 200), ("[::1]:8000", 200)):  # fmt: skip
            answer = httpx.post(f"{app.url}/analyze", json=NEWS, headers={"Host": host}, trust_env=False)
            assert answer.status_code == status


def test_a_batch_that_no_rate_allows_is_told_so(engine: InstantEngine) -> None:
    with run_app(engine, api_key="k", rate_limit="4/minute") as app:
        refused = ask(app, "k", "/analyze/batch", {"items": [NEWS] * 5})
    assert refused.status_code == 422 and "4 次" in refused.json()["error"]["message"]


def test_a_request_can_name_no_file_and_no_url(live_app: LiveApp, tmp_path: Path) -> None:
    """What looks like a path is the name of an adapter that does not exist; nothing is read or fetched."""
    (tmp_path / "adapter").mkdir()
    for name in (str(tmp_path / "adapter"), "../adapter", "http://127.0.0.1:9/x", "file:///etc/passwd", "tuned/"):
        assert live_app.post("/analyze", json=NEWS | {"adapter": name}).status_code == 404
    for path in ("/../etc/passwd", "/%2e%2e/etc/passwd", "/static/..%2f..%2fpyproject.toml", "//evil.example/x"):
        assert httpx.get(live_app.url + path, trust_env=False).status_code == 404

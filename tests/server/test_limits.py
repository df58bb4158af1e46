"""A request ends in time, and when its caller has gone; too many at once are told to come again."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fintunnel_server.errors import EngineBusy, EngineFull, UpstreamOverloaded, UpstreamUnreachable

from tests.instant_engine import InstantConversation, InstantEngine
from tests.live_app import LiveApp, run_app

CHAT = {"messages": [{"role": "user", "content": "你好"}]}
NEWS = {"task": "news", "text": "美联储宣布加息25个基点"}


def until(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/analyze", "/v1/chat/completions"])
def test_work_stops_when_the_caller_hangs_up(live_app: LiveApp, engine: InstantEngine, path: str, stream: bool) -> None:
    engine.text, engine.delay = "金" * 1000, 0.02
    body = CHAT | {"stream": stream} if path.startswith("/v1") else NEWS
    path = "/analyze/stream" if stream and path == "/analyze" else path
    with socket.create_connection(("127.0.0.1", int(live_app.url.rpartition(":")[2]))) as caller:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer right-key\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        caller.sendall(head.encode() + content)
        assert until(lambda: engine.open_now == 1 and bool(engine.calls))
    assert until(lambda: engine.open_now == 0)


def test_a_request_that_takes_too_long_says_what_was_reached(engine: InstantEngine) -> None:
    with run_app(engine, api_key=None, request_timeout=0.5) as app:
        assert until(lambda: httpx.get(f"{app.url}/ready", trust_env=False).status_code == 200)
        engine.weights = {"high": 8.0, "bullish": 3.0}
        engine.text, engine.delay = "金" * 1000, 0.02
        answer = httpx.post(f"{app.url}/analyze", json=NEWS, trust_env=False)
        body = answer.json()["error"]
        assert answer.status_code == 504 and body["code"] == "deadline_exceeded"
        assert "0.5 秒" in body["message"] and "影响高、方向利好，文字写了" in body["message"]
        chat = httpx.post(
            f"{app.url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "你好"}]}, trust_env=False
        )
        assert chat.status_code == 504 and "文字写了" in chat.json()["error"]["message"]
        assert engine.open_now == 0


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        (EngineBusy("排队已满", retry_after=3.2), 429, "queue_full", "4"),
        (EngineFull("显存不足"), 503, "no_capacity", "5"),
        (UpstreamOverloaded("上游太忙", retry_after=7.0), 503, "upstream_failed", "7"),
        (UpstreamUnreachable("上游没有回答", detail="key sk-1"), 503, "upstream_failed", None),
    ],
)
def test_what_the_engine_cannot_do_now_is_told(
    live_app: LiveApp, engine: InstantEngine, failure: Exception, status: int, code: str, retry_after: str | None
) -> None:
    engine.failure = failure
    answer = live_app.post("/analyze", json=NEWS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("retry-after") == retry_after and "sk-1" not in answer.text


def test_ready_asks_the_engine(engine: InstantEngine) -> None:
    with run_app(engine, api_key=None) as app:
        assert until(lambda: httpx.get(f"{app.url}/ready", trust_env=False).status_code == 200)
        engine.unreachable = UpstreamUnreachable("上游没有回答")
        answer = httpx.get(f"{app.url}/ready", trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream_failed")


def events(text: str) -> list[tuple[str, dict[str, object]]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_an_analysis_is_streamed_labels_first(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.text = r"金价\n短线。"
    answer = live_app.post("/analyze/stream", json=NEWS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    given = events(answer.text)
    assert [name for name, _ in given] == ["analysis", *["token"] * (len(given) - 2), "done"]
    assert given[0][1]["rationale"] is None and given[0][1]["impact"] == given[-1][1]["impact"]
    pieces = "".join(str(data["text"]) for name, data in given if name == "token")
    assert pieces == given[-1][1]["rationale"] == "金价 短线。"
    assert given[0][1]["id"] == given[-1][1]["id"]


def test_without_text_the_stream_is_the_analysis_twice(live_app: LiveApp) -> None:
    given = events(live_app.post("/analyze/stream", json=NEWS | {"explain": False}).text)
    assert [name for name, _ in given] == ["analysis", "done"] and given[0][1] == given[1][1]


def test_an_error_in_a_stream_is_its_last_event(live_app: LiveApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> AsyncIterator[str]:
        raise RuntimeError("secret detail")
        yield ""

    monkeypatch.setattr(InstantConversation, "write", broken)
    answer = live_app.post("/analyze/stream", json=NEWS)
    [(first, _), (name, data)] = events(answer.text)
    assert (first, name) == ("analysis", "error") and isinstance(data["error"], dict)
    assert data["error"]["code"] == "internal_error"
    assert data["error"]["request_id"] == answer.headers["x-request-id"] and "secret" not in answer.text


@pytest.mark.parametrize("path", ["/analyze/stream", "/v1/chat/completions"])
def test_what_goes_wrong_before_a_stream_begins_has_its_status(
    live_app: LiveApp, engine: InstantEngine, path: str
) -> None:
    body = CHAT | {"stream": True} if path.startswith("/v1") else NEWS
    engine.failure = EngineBusy("排队已满", retry_after=3.2)
    answer = live_app.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert answer.headers["retry-after"] == "4" and engine.open_now == 0
    engine.failure = RuntimeError("secret detail")
    answer = live_app.post(path, json=body)
    assert answer.status_code == 500 and "secret" not in answer.text


def test_a_stream_that_is_refused_is_refused_with_its_status(live_app: LiveApp) -> None:
    assert live_app.post("/analyze/stream", json=NEWS | {"adapter": "other"}).status_code == 404
    assert live_app.post("/analyze/stream", json={"task": "news"}).status_code == 422


def test_a_quiet_stream_is_kept_alive(
    live_app: LiveApp, engine: InstantEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fintunnel_server.running.streaming._ALIVE_SECONDS", 0.05)
    engine.text, engine.delay = "金", 0.3
    assert ": alive\n\n" in live_app.post("/analyze/stream", json=NEWS).text

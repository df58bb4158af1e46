"""The orderly end: nothing new is taken, what runs may finish, and past a bound its callers are told."""

from __future__ import annotations

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

NEWS = {"task": "news", "text": "美联储宣布加息25个基点"}


def wait_for(app: LiveApp, under_way: int) -> None:
    deadline = time.monotonic() + 5
    while app.drain.under_way != under_way:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_over(app: LiveApp) -> bool:
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{app.url}/health", trust_env=False)
        except httpx.TransportError:
            return True
        time.sleep(0.05)
    return False


def test_what_runs_finishes_and_new_requests_get_503(engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 60, 0.05
    with run_app(engine, api_key=None) as app, ThreadPoolExecutor() as pool, httpx.Client(trust_env=False) as kept:
        assert kept.get(f"{app.url}/health").status_code == 200
        running = pool.submit(app.post, "/analyze", json=NEWS)
        stream = pool.submit(app.post, "/analyze/stream", json=NEWS)
        wait_for(app, 2)
        app.server.handle_exit(signal.SIGTERM, None)
        refused = [app.post("/analyze", json=NEWS), kept.post(f"{app.url}/analyze", json=NEWS)]
        assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(503, "shutting_down")}
        assert all(answer.headers["connection"] == "close" and "retry-after" in answer.headers for answer in refused)
        assert httpx.get(f"{app.url}/ready", trust_env=False).status_code == 503
        assert httpx.get(f"{app.url}/health", trust_env=False).status_code == 200
        assert running.result().json()["rationale"] == engine.text
        assert "event: done" in stream.result().text
        assert is_over(app)
    assert engine.closed


def test_past_the_bound_callers_are_told_and_the_work_ends(engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 10_000, 0.02
    chat = {"messages": [{"role": "user", "content": "你好"}]}
    with run_app(engine, api_key=None, drain_seconds=0.3) as app, ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(app.post, path, json=body)
            for path, body in (("/analyze", NEWS), ("/v1/chat/completions", chat), ("/analyze/stream", NEWS))
        ]
        wait_for(app, 3)
        began = time.monotonic()
        app.server.handle_exit(signal.SIGTERM, None)
        plain, completion, stream = (future.result() for future in asked)
        assert time.monotonic() - began < 3
        for answer in (plain, completion):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (503, "shutting_down") and "文字写了" in error["message"]
        last = stream.text.strip().split("\n\n")[-1]
        assert last.startswith("event: error\n")
        assert json.loads(last.partition("data: ")[2])["error"]["code"] == "shutting_down"
        assert is_over(app) and engine.open_now == 0


def test_a_batch_keeps_what_was_done(engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 10_000, 0.02
    items: list[dict[str, Any]] = [NEWS | {"explain": False}, NEWS, {"task": "news"}]
    with run_app(engine, api_key=None, drain_seconds=0.3) as app, ThreadPoolExecutor() as pool:
        asked = pool.submit(app.post, "/analyze/batch", json={"items": items})
        wait_for(app, 1)
        app.server.handle_exit(signal.SIGTERM, None)
        done, cut, invalid = asked.result().json()["results"]
    assert done["analysis"]["impact"] and cut["error"]["code"] == "shutting_down"
    assert invalid["error"]["code"] == "invalid_request"


def test_a_second_signal_does_not_wait(engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 10_000, 0.02
    with run_app(engine, api_key=None) as app, ThreadPoolExecutor() as pool:
        running = pool.submit(app.post, "/analyze", json=NEWS)
        wait_for(app, 1)
        began = time.monotonic()
        app.server.handle_exit(signal.SIGTERM, None)
        app.server.handle_exit(signal.SIGTERM, None)
        assert running.result().json()["error"]["code"] == "shutting_down" and time.monotonic() - began < 2


@pytest.mark.parametrize("head", ["", "POST /analyze HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_connection_that_asks_nothing_does_not_hold_the_stop(engine: InstantEngine, head: str) -> None:
    with run_app(engine, api_key=None) as app:
        with socket.create_connection(("127.0.0.1", int(app.url.rpartition(":")[2]))) as idle:
            idle.sendall(head.encode())
            began = time.monotonic()
            app.server.handle_exit(signal.SIGTERM, None)
            assert is_over(app) and time.monotonic() - began < 2

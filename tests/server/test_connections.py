"""What a connection may cost: time, memory, and a place among the others."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from fintunnel.wire import ErrorBody
from fintunnel_server.running import connections
from fintunnel_server.running.connections import ConnectionLimits
from fintunnel_server.running.logs import RareLog

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

NEWS = json.dumps({"task": "news", "text": "美联储宣布加息25个基点"}).encode()
HEAD = "POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMALL = ConnectionLimits(most=20, request_seconds=0.5, unread_seconds=0.5, head_bytes=8192)


@pytest.fixture
def app(engine: InstantEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveApp]:
    monkeypatch.setattr(connections, "_log", RareLog("fintunnel.connections", seconds=60.0))
    with run_app(engine, api_key=None, limits=SMALL) as app:
        yield app


def connect(app: LiveApp) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(app.url.rpartition(":")[2])), timeout=5)


def answer(connection: socket.socket) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, error code and headers of the one answer on a connection that the server then closes."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    error = ErrorBody.model_validate_json(response.read()).error
    assert error.request_id == response.headers["x-request-id"] and response.headers["connection"] == "close"
    assert connection.recv(1) == b""
    return response.status, error.code.value, response.headers


def lasts(connection: socket.socket) -> float:
    began = time.monotonic()
    assert connection.recv(1) == b""
    return time.monotonic() - began


def test_a_connection_that_asks_nothing_is_closed(app: LiveApp) -> None:
    with connect(app) as idle:
        assert 0.3 < lasts(idle) < 2.0


@pytest.mark.parametrize(
    "sent", ["POST /ana", HEAD, HEAD + "Content-Length: 50\r\n\r\n", HEAD + "Content-Length: 50\r\n\r\n{"]
)
def test_a_request_that_does_not_arrive_is_408(app: LiveApp, sent: str) -> None:
    with connect(app) as slow:
        slow.sendall(sent.encode())
        assert answer(slow)[:2] == (408, "request_too_slow")


def test_dripping_bytes_do_not_win_time(app: LiveApp, engine: InstantEngine) -> None:
    with connect(app) as slow:
        slow.sendall(f"{HEAD}Content-Length: 500\r\n\r\n".encode())
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 3:
                slow.sendall(b" ")
                time.sleep(0.05)
        assert time.monotonic() - began < 2 and engine.open_now == 0


def test_the_next_request_on_a_kept_connection_is_timed_too(app: LiveApp) -> None:
    with connect(app) as kept:
        kept.sendall(f"{HEAD}Content-Length: {len(NEWS)}\r\n\r\n".encode() + NEWS)
        first = http.client.HTTPResponse(kept)
        first.begin()
        assert first.status == 200 and first.read()
        kept.sendall(HEAD.encode())
        assert answer(kept)[:2] == (408, "request_too_slow")


def test_a_slow_but_whole_request_is_answered(app: LiveApp) -> None:
    with connect(app) as slow:
        sent = f"{HEAD}Content-Length: {len(NEWS)}\r\nConnection: close\r\n\r\n".encode() + NEWS
        for start in range(0, len(sent), 40):
            slow.sendall(sent[start : start + 40])
            time.sleep(0.01)
        response = http.client.HTTPResponse(slow)
        response.begin()
        assert response.status == 200 and json.loads(response.read())["task"] == "news"


@pytest.mark.parametrize("form", ["one header", "many headers", "the address"])
def test_a_head_that_is_too_large_is_431(app: LiveApp, form: str) -> None:
    with connect(app) as large:
        match form:
            case "one header":
                sent = HEAD + "X: " + "x" * 100_000
            case "many headers":
                sent = HEAD + "X-Many: x\r\n" * 10_000
            case _:
                sent = "GET /" + "x" * 100_000
        try:
            large.sendall(sent.encode())
        except OSError:
            return  # closed while we were writing: nothing of it was kept either
        assert answer(large)[:2] == (431, "head_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"FOO /analyze HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"\r\n\r\nhello\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_error_body(app: LiveApp, sent: bytes) -> None:
    with connect(app) as stranger:
        stranger.sendall(sent)
        assert answer(stranger)[:2] == (400, "invalid_http")


def test_http_1_0_is_answered(app: LiveApp, engine: InstantEngine) -> None:
    engine.text = "金价走高。"
    for path in ("/analyze", "/analyze/stream"):
        with connect(app) as old:
            head = HEAD.replace("1.1", "1.0").replace("/analyze", path)
            old.sendall(f"{head}Content-Length: {len(NEWS)}\r\n\r\n".encode() + NEWS)
            raw = b""
            while piece := old.recv(65536):
                raw += piece
        given, _, body = raw.partition(b"\r\n\r\n")
        assert b" 200 OK" in given and b"chunked" not in given.lower() and b"connection: close" in given.lower()
        if path == "/analyze":
            assert json.loads(body)["rationale"] == "金价走高。"
        else:
            assert body.startswith(b"event: analysis\n") and b"\nevent: done\n" in body and body.endswith(b"\n\n")


@pytest.fixture
def patient(engine: InstantEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveApp]:
    monkeypatch.setattr(connections, "_log", RareLog("fintunnel.connections", seconds=60.0))
    with run_app(engine, api_key=None, limits=ConnectionLimits(most=20)) as app:
        yield app


@pytest.mark.parametrize("sent", ["", "POST /ana", HEAD + "Content-Length: 50\r\n\r\n{"])
def test_who_asks_nothing_makes_room_for_who_does(
    patient: LiveApp, caplog: pytest.LogCaptureFixture, sent: str
) -> None:
    caplog.set_level(logging.WARNING)
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(patient)) for _ in range(20)]
        for each in idle:
            each.sendall(sent.encode())
        time.sleep(0.2)
        for _ in range(3):
            assert httpx.get(f"{patient.url}/health", trust_env=False).status_code == 200
        status, code, headers = answer(idle[0])
        assert [getattr(each, "request_id", "") for each in caplog.records][-1] == headers["x-request-id"]
        assert (status, code, headers["retry-after"]) == (503, "too_many_connections", "5")
        assert headers["content-type"].endswith("charset=utf-8") and headers["x-frame-options"] == "DENY"
    lines = [record.getMessage() for record in caplog.records if "connections" in record.getMessage()]
    assert lines == ["refused before the app: too_many_connections"]
    metrics = httpx.get(f"{patient.url}/metrics", trust_env=False).text
    assert 'fintunnel_errors_total{code="too_many_connections"}' in metrics


def test_when_all_are_being_answered_new_ones_are_refused(patient: LiveApp, engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 1000, 0.02
    with ExitStack() as stack:
        for _ in range(20):
            busy = stack.enter_context(connect(patient))
            busy.sendall(f"{HEAD}Content-Length: {len(NEWS)}\r\n\r\n".encode() + NEWS)
        deadline = time.monotonic() + 5
        while patient.drain.under_way < 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with connect(patient) as refused:
            assert answer(refused)[:2] == (503, "too_many_connections")


def test_a_caller_that_does_not_read_is_given_up(
    app: LiveApp, engine: InstantEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.text = ["金" * 100_000] * 40  # type: ignore[assignment]  # 12 MB: more than the two sides' buffers hold
    with connect(app) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        head = HEAD.replace("/analyze", "/analyze/stream")
        lazy.sendall(f"{head}Content-Length: {len(NEWS)}\r\n\r\n".encode() + NEWS)
        deadline = time.monotonic() + 20
        while "was not read" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while app.server.server_state.connections or app.drain.under_way:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_request_hidden_behind_another_is_not_waited_for(app: LiveApp) -> None:
    """Pipelined: the first is answered, or not; the second holds nothing."""
    with connect(app) as sly:
        hidden = HEAD + "Content-Length: 100\r\n\r\n"
        sly.sendall(("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden).encode())
        began = time.monotonic()
        with suppress(ConnectionResetError):
            while sly.recv(4096):
                pass
        assert time.monotonic() - began < 3
    deadline = time.monotonic() + 5
    while app.server.server_state.connections or app.drain.under_way:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_requests_without_end_on_one_connection_are_ended(app: LiveApp) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    with connect(app) as flood:
        with pytest.raises(OSError):
            for _ in range(10_000):
                flood.sendall(asked)
    assert httpx.get(f"{app.url}/health", trust_env=False).status_code == 200


def test_what_follows_a_body_in_chunks_is_no_header(app: LiveApp) -> None:
    with connect(app) as odd:
        head = HEAD + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        chunk = f"{len(NEWS):x}\r\n".encode() + NEWS + b"\r\n0\r\n" + b"authorization: Bearer x\r\n" * 100 + b"\r\n"
        odd.sendall(head.encode() + chunk)
        response = http.client.HTTPResponse(odd)
        response.begin()
        assert response.status == 200


@pytest.mark.parametrize("kind", ["h2c", "websocket", "foo"])
def test_what_follows_a_wish_to_upgrade_is_no_request(app: LiveApp, kind: str) -> None:
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for method, length in (("GET", ""), ("GET", f"Content-Length: {len(hidden)}\r\n")):
        with connect(app) as sly:
            head = f"{method} /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {kind}\r\n"
            sly.sendall(f"{head}{length}\r\n".encode())
            time.sleep(0.05)
            with suppress(OSError):
                sly.sendall(hidden)
            raw = b""
            with suppress(ConnectionResetError):
                while piece := sly.recv(65536):
                    raw += piece
        assert raw.count(b"HTTP/1.1 ") == 1 and b"fintunnel" not in raw
        assert raw.startswith(b"HTTP/1.1 400" if length else b"HTTP/1.1 200")


def test_a_head_that_is_too_large_in_one_piece_is_431(app: LiveApp) -> None:
    with connect(app) as large:
        large.sendall(("GET /health HTTP/1.1\r\nHost: localhost\r\n" + "X-Many: xxxxxxxx\r\n" * 700 + "\r\n").encode())
        assert answer(large)[:2] == (431, "head_too_large")


@pytest.mark.parametrize("body", ["zz\r\n", "-1\r\n"])
def test_a_body_in_broken_chunks_gets_the_error_body(app: LiveApp, body: str) -> None:
    with connect(app) as odd:
        odd.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{body}".encode())
        assert answer(odd)[:2] == (400, "invalid_http")

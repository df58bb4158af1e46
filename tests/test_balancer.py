"""deploy/haproxy.cfg between callers and replicas that misbehave."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest
from fintunnel.wire import ErrorBody

from tests.balancer import CONFIGURATION, balancer
from tests.loopback import QuietHandler, serving

ASKED = 40


@contextmanager
def replica(seen: Counter[str], name: str, status: int | None) -> Iterator[str]:
    """Its address. It passes every check, and answers a POST with the status; None: closes the connection instead."""
    lock = threading.Lock()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:  # a thread for each connection
                seen[name] += 1
            if status is None:
                self.close_connection = True
            else:
                self._answer(status)

        def _answer(self, number: int) -> None:
            self.send_response(number)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # the balancer closes a check's connection as it likes
                pass

    with serving(Handler) as url:
        yield url.removeprefix("http://")


@pytest.mark.parametrize("status", [503, None])
def test_a_replica_that_stops_costs_no_caller_an_answer(tmp_path: Path, status: int | None) -> None:
    """Head and body of a request come in two packets: sent again it can be only if the balancer has both."""
    seen: Counter[str] = Counter()
    with (
        replica(seen, "stopping", status) as first,
        replica(seen, "well", 200) as second,
        balancer(tmp_path, {"REPLICA_1": first, "REPLICA_2": second}) as running,
        ThreadPoolExecutor(8) as pool,
    ):

        def ask(number: int) -> int:
            body = {"task": "news", "text": f"第{number}号" * 100}
            return httpx.post(f"{running.url}/analyze", json=body, trust_env=False, timeout=10).status_code

        assert Counter(pool.map(ask, range(ASKED))) == {200: ASKED}
    assert seen["well"] == ASKED and seen["stopping"] > 0


@pytest.mark.parametrize("head_is_whole", [True, False])
def test_a_caller_who_sends_too_slowly_is_told(tmp_path: Path, head_is_whole: bool) -> None:
    """Once the head has come, in the shape of all other errors."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    assert text.count("timeout http-request 30s") == 1
    (tmp_path / "haproxy.cfg").write_text(text.replace("http-request 30s", "http-request 1s"), encoding="utf-8")
    nobody = {"REPLICA_1": "127.0.0.1:9", "REPLICA_2": "127.0.0.1:9"}
    with balancer(tmp_path, nobody, tmp_path / "haproxy.cfg") as running:
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=10) as caller:
            end = b"\r\n{" if head_is_whole else b""
            caller.sendall(b"POST /analyze HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n" + end)
            answer = HTTPResponse(caller)
            answer.begin()
            body = (
                answer.read()
            )  # not to the connection's end: HAProxy 3.4 keeps it a while for the rest of the request
    assert answer.status == 408
    if head_is_whole:
        error = ErrorBody.model_validate(json.loads(body)).error
        assert (error.code.value, error.type) == ("request_too_slow", "invalid_request_error")

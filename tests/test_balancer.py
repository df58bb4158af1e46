"""deploy/haproxy.cfg between callers and replicas that misbehave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.balancer import balancer
from tests.loopback import QuietHandler, serving

ASKED = 40


@contextmanager
def replica(seen: Counter[str], name: str, status: int | None) -> Iterator[str]:
    """Its address. It passes every check, and answers a POST with the status; None: closes the connection instead."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
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

"""The server process told to stop, and killed, while it answers."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fintunnel import DeepSeekClient
from fintunnel.errors import ConnectionFailed
from fintunnel.local_server import LocalServer, free_port
from fintunnel.wire import NewsAnalysis

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM: terminate() ends a process at once"),
]

HEADLINES = [f"美联储宣布加息{basis_points}个基点" for basis_points in range(25, 225, 25)]


def ask(server: LocalServer, path: str, text: str) -> httpx.Response:
    body = {"task": "news", "text": text, "max_tokens": 16}
    return httpx.post(f"{server.url}{path}", json=body, timeout=300, trust_env=False)


def under_way(server: LocalServer) -> int:
    for line in httpx.get(f"{server.url}/metrics", trust_env=False).text.splitlines():
        if line.startswith("fintunnel_requests_under_way "):
            return int(float(line.split()[1])) - 1  # without this one
    raise AssertionError("no such metric")


def test_sigterm_under_load_loses_no_accepted_request_and_a_kill_is_a_typed_error(
    adapter: Path, tmp_path: Path
) -> None:
    arguments = ["--base", "embedded", "--adapter", str(adapter)]
    port = free_port()
    patient = {"FINTUNNEL_DRAIN_SECONDS": "300"}  # a busy machine is no reason to cut anybody short
    with (
        LocalServer(arguments, log=tmp_path / "1.log", port=port, environment=patient) as server,
        ThreadPoolExecutor(40) as pool,
    ):
        server.wait_until_ready(300)
        asked: list[Future[httpx.Response]] = []
        for path in ("/analyze", "/analyze/stream"):
            asked += [pool.submit(ask, server, path, text) for text in HEADLINES]
        deadline = time.monotonic() + 30
        while under_way(server) + sum(future.done() for future in asked) < len(asked):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running = sum(not future.done() for future in asked)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        refused = [ask(server, "/analyze", "加息").json()["error"]["code"] for _ in range(3)]
        answers = [future.result() for future in asked]
        assert server.process.wait(300) == 0
    assert running >= 4 and refused == ["shutting_down"] * 3
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    for answer in answers[: len(HEADLINES)]:
        assert NewsAnalysis.model_validate(answer.json()).rationale
    for answer in answers[len(HEADLINES) :]:
        last = answer.text.strip().split("\n\n")[-1]
        assert last.startswith("event: done\n")
        assert NewsAnalysis.model_validate(json.loads(last.partition("data: ")[2])).rationale
    assert "Traceback" not in (tmp_path / "1.log").read_text(encoding="utf-8")

    client = DeepSeekClient(backend="finetuned", url=f"http://127.0.0.1:{port}", timeout=60)
    with LocalServer(arguments, log=tmp_path / "2.log", port=port) as server, ThreadPoolExecutor(40) as pool:
        server.wait_until_ready(300)  # the same port, right after
        analyses = [pool.submit(client.analyze, text, max_tokens=200) for text in HEADLINES]
        deadline = time.monotonic() + 30
        while under_way(server) < len(HEADLINES):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.process.kill()
        for analysis in analyses:
            with pytest.raises(ConnectionFailed):
                analysis.result()
    with LocalServer(arguments, log=tmp_path / "3.log", port=port) as server:
        server.wait_until_ready(300)
        assert client.analyze("加息", explain=False).impact in ("low", "medium", "high")

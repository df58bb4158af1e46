"""Replicas come and go under load: a caller with our client loses nothing. What it met is printed (pytest -s)."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fintunnel import ConnectionFailed, DeepSeekClient, Done, ServerFailure, TextPiece
from fintunnel.wire import ErrorBody

from tests.balancer import balancer, haproxy
from tests.compose_file import stop_signal
from tests.e2e.replicas import KEY, Load, Scale, scale, shares, without_retries

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="HAProxy runs on Unix, replicas are ended by signals")

HEADLINE = "第7号：美联储宣布加息25个基点"
NEWS = {"task": "news", "text": HEADLINE}
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scale]:
    haproxy()  # before replicas are started
    with scale(tmp_path_factory.mktemp("scale")) as running:
        yield running


@pytest.fixture
def running(shared: Scale) -> Scale:
    """Both replicas up, the upstream at its usual pace."""
    for number in (0, 1):
        if not shared.is_alive(number):
            shared.start_again(number)
    shared.upstream.drip = 0.05
    return shared


def told(what: str, load: Load, more: str) -> None:
    print(  # noqa: T201 - the figures are what a reader of the run wants
        f"\n{what}: {len(load.answers)} analyses answered, {len(load.failures)} lost, {load.retried} calls repeated by "
        f"the client, the longest call {load.longest:.2f} s; {more}"
    )


def test_a_caller_who_hangs_up_frees_the_upstream(running: Scale) -> None:
    running.upstream.drip = 0.2
    url = f"{running.balancer.url}/analyze/stream"
    with httpx.stream("POST", url, json=NEWS, headers=HEADERS, trust_env=False, timeout=10) as response:
        assert response.status_code == 200
        next(line for line in response.iter_lines() if line.startswith("event: token"))
    assert running.upstream.disconnected.wait(5)


def test_nothing_is_lost_when_a_replica_is_killed_and_it_is_used_again(running: Scale) -> None:
    load, at_start = Load(running.balancer.url), running.answered()
    counts: dict[str, list[int]] = {}
    out: list[float] = []

    def kill_and_restart() -> None:
        counts["killed"] = running.wait_until_used(at_start, 0, 1)
        running.end(0, signal.SIGKILL)
        out.append(running.wait_until_out(0))
        counts["alone"] = running.wait_until_used(counts["killed"], 1)
        running.start_again(0)
        counts["back"] = running.answered()
        counts["end"] = running.wait_until_used(counts["back"], 0, 1)

    load.run(8, kill_and_restart)
    told(
        "SIGKILL", load,
        f"out of the balancer after {out[0]:.2f} s; by each replica {shares(at_start, counts['killed'])} before, "
        f"{counts['back'][1] - counts['killed'][1]} by the other one alone, "
        f"{shares(counts['back'], counts['end'])} since it was back",
    )  # fmt: skip
    load.check()


@pytest.mark.thorough
def test_nothing_is_lost_when_a_replica_is_told_to_stop(running: Scale) -> None:
    load, at_start, ends = Load(running.balancer.url), running.answered(), []

    def stop() -> None:
        before = running.wait_until_used(at_start, 0, 1)
        began = time.monotonic()
        ends.append((running.end(1, stop_signal()), time.monotonic() - began))
        running.wait_until_used(before, 0)

    load.run(8, stop)
    [(status, seconds)] = ends
    told(stop_signal().name, load, f"the replica ended after {seconds:.2f} s with status {status}")
    load.check()
    assert status == 130  # what a shell says of SIGINT


@pytest.mark.thorough
def test_the_clients_own_retries_suffice(running: Scale, tmp_path: Path) -> None:
    with balancer(tmp_path, running.addresses, without_retries(tmp_path)) as plain:
        load, at_start = Load(plain.url), running.answered()

        def kill() -> None:
            before = running.wait_until_used(at_start, 0, 1)
            running.end(0, signal.SIGKILL)
            running.wait_until_used(before, 1, more=20)

        load.run(8, kill)
    told("SIGKILL, the balancer without retries", load, "by the client's retries alone")
    load.check()
    assert load.retried > 0


def test_a_stream_passes_unbuffered_and_a_cut_one_is_never_taken_for_whole(running: Scale) -> None:
    running.upstream.drip = 0.2
    with DeepSeekClient(backend="finetuned", url=running.balancer.url, api_key=KEY, timeout=30) as client:
        times = [(time.monotonic(), event) for event in client.stream(HEADLINE)]
        last = times[-1][1]
        assert isinstance(last, Done) and last.analysis.rationale == "第7号：利率上行。"
        pieces = [at for at, event in times if isinstance(event, TextPiece)]
        assert pieces[-1] - pieces[0] > 0.5  # 0.2 s between them, not all at the end

        stream = client.stream(HEADLINE)
        while not isinstance(next(stream), TextPiece):
            pass
        for number in (0, 1):
            running.end(number, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(ConnectionFailed):
            for event in stream:
                assert not isinstance(event, Done)
        assert time.monotonic() - began < 5


def test_without_any_replica_the_answer_says_when_to_ask_again(shared: Scale) -> None:
    for number in (0, 1):
        if shared.is_alive(number):
            shared.end(number, signal.SIGKILL)
    for path in ("/analyze", "/ready"):
        answer = httpx.post(shared.balancer.url + path, json=NEWS, headers=HEADERS, trust_env=False, timeout=10)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        error = ErrorBody.model_validate(answer.json()).error
        assert error.code.value == "no_capacity" and error.message.startswith("没有可用的服务副本")
    with (
        DeepSeekClient(backend="finetuned", url=shared.balancer.url, api_key=KEY, timeout=3) as client,
        pytest.raises(ServerFailure, match="没有可用的服务副本") as raised,
    ):
        client.analyze(HEADLINE)
    assert raised.value.retry_after == 5

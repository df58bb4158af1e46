"""What Prometheus is told."""

from __future__ import annotations

import asyncio

import httpx
from fintunnel_server.engine import Occupancy
from fintunnel_server.errors import EngineBusy
from fintunnel_server.running.metrics import Metrics
from fintunnel_server.tunnel import TunnelState
from prometheus_client.parser import text_string_to_metric_families

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp

NEWS = {"task": "news", "text": "美联储宣布加息25个基点"}


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_tokens_and_errors_are_counted(live_app: LiveApp, engine: InstantEngine) -> None:
    analysis = live_app.post("/analyze", json=NEWS).json()
    live_app.post("/analyze/stream", json=NEWS)
    engine.failure = EngineBusy("排队已满")
    live_app.post("/analyze", json=NEWS)
    live_app.post("/analyze", json={})
    live_app.post("/nobody-defined/this", json={})
    response = httpx.get(f"{live_app.url}/metrics", headers={"Authorization": "Bearer right-key"}, trust_env=False)
    assert response.headers["content-type"].startswith("text/plain; version=")
    now = samples(response.text)
    assert now["fintunnel_requests_total|POST|/analyze|200"] == 1
    assert now["fintunnel_requests_total|POST|/analyze|429"] == 1
    assert now["fintunnel_requests_total|POST|/analyze|422"] == 1
    assert now["fintunnel_requests_total|POST|other|404"] == 1  # a stranger's paths are no series
    assert now["fintunnel_errors_total|queue_full"] == now["fintunnel_errors_total|invalid_request"] == 1
    # The self-test counts as no request; the two that were answered do.
    assert now["fintunnel_tokens_total|prompt"] == 2 * analysis["usage"]["prompt_tokens"]
    assert now["fintunnel_tokens_total|completion"] == 2 * analysis["usage"]["completion_tokens"]
    assert now["fintunnel_time_to_first_token_seconds_count"] == 2
    assert now["fintunnel_request_seconds_count|/analyze"] == 3
    assert now["fintunnel_requests_under_way"] == 1 and now["fintunnel_conversations_running"] == 0
    assert "fintunnel_tunnel_open" not in now


def test_the_queue_the_batches_and_the_tunnel_are_read_when_asked_for() -> None:
    class Busy(InstantEngine):
        def occupancy(self) -> Occupancy:
            return Occupancy(running=3, waiting=7, pass_rows={1: 5, 3: 2, 200: 1})

    class Tunnel:
        state = TunnelState(url="https://mine.example", is_open=True, reopened=4)

    async def text() -> str:
        return Metrics(Busy(), lambda: 10, Tunnel()).text().decode()

    now = samples(asyncio.run(text()))
    assert now["fintunnel_conversations_running"] == 3 and now["fintunnel_conversations_waiting"] == 7
    assert now["fintunnel_tunnel_open"] == 1 and now["fintunnel_tunnel_reopened_total"] == 4
    assert now["fintunnel_batch_size_bucket|1.0"] == 5 and now["fintunnel_batch_size_bucket|4.0"] == 7
    assert now["fintunnel_batch_size_count"] == 8 and now["fintunnel_batch_size_sum"] == 5 + 6 + 200

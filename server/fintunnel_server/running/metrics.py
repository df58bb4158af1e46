"""Prometheus metrics of one app. https://prometheus.io/docs/practices/naming"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fintunnel_server.engine import Engine
from fintunnel_server.tunnel.watch import TunnelState

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class _Tunnel(Protocol):
    @property
    def state(self) -> TunnelState: ...


class Metrics:
    """`text` is what `/metrics` answers. Counting is safe from any thread."""

    def __init__(self, engine: Engine, under_way: Callable[[], int], tunnel: _Tunnel | None = None) -> None:
        """`under_way`: requests that are being answered."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fintunnel_requests", "Requests answered.", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "fintunnel_request_seconds", "From a request's arrival to the end of its answer.", ["route"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._errors = Counter(
            "fintunnel_errors", "Errors told to callers, by code.", ["code"], registry=self._registry
        )
        self._tokens = Counter("fintunnel_tokens", "Tokens read and written.", ["kind"], registry=self._registry)
        self._first_token = Histogram(
            "fintunnel_time_to_first_token_seconds", "From a request's arrival to the first piece of its text.",
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._registry.register(_State(engine, under_way, tunnel))

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def error(self, code: str) -> None:
        self._errors.labels(code).inc()

    def tokens(self, prompt: int, completion: int) -> None:
        self._tokens.labels("prompt").inc(prompt)
        self._tokens.labels("completion").inc(completion)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)


class _State(Collector):
    """What is so now, read when it is asked for."""

    def __init__(self, engine: Engine, under_way: Callable[[], int], tunnel: _Tunnel | None) -> None:
        self._engine = engine
        self._under_way = under_way
        self._tunnel = tunnel

    def describe(self) -> Iterable[Metric]:
        return ()  # else registering would ask the engine

    def collect(self) -> Iterator[Metric]:
        now = self._engine.occupancy()
        yield GaugeMetricFamily("fintunnel_requests_under_way", "Requests being answered.", self._under_way())
        yield GaugeMetricFamily("fintunnel_conversations_running", "Conversations in the model.", now.running)
        yield GaugeMetricFamily("fintunnel_conversations_waiting", "Conversations in the queue.", now.waiting)
        if now.pass_rows is not None:
            yield _batch_sizes(now.pass_rows)
        if self._tunnel is not None:
            state = self._tunnel.state
            is_open = int(state.is_open)
            yield GaugeMetricFamily("fintunnel_tunnel_open", "1 while the public address leads here.", is_open)
            yield CounterMetricFamily(
                "fintunnel_tunnel_reopened", "Times that the tunnel was opened again.", state.reopened
            )


def _batch_sizes(passes: Mapping[int, int]) -> HistogramMetricFamily:
    """`passes`: how many carried so many sequences."""
    buckets = [(f"{most:.1f}", sum(count for rows, count in passes.items() if rows <= most)) for most in _ROWS]
    sizes = HistogramMetricFamily("fintunnel_batch_size", "Sequences in a forward pass.")
    sizes.add_metric(
        [], [*buckets, ("+Inf", sum(passes.values()))], sum(rows * count for rows, count in passes.items())
    )
    return sizes

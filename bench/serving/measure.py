"""One server under one load: what came back, and how fast."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fintunnel.wire import NewsRequest

from bench.serving.load import Load, Request, closed_loop
from bench.serving.peers import Answer, Mode, Peer

__all__ = ["Cell", "Requests", "measure", "percentile", "warm_up"]

Requests = Callable[[int], NewsRequest]


@dataclass(frozen=True)
class Cell:
    """`per_second`: requests; `rationale_tokens`: mean of an answer; `first`, `first_rationale`: medians in seconds,
    nan without a stream; `valid`: share of the answers; `peak_bytes`: of the server's processes since it started."""

    peer: str
    mode: Mode
    callers: int
    answers: int
    seconds: float
    per_second: float
    rationale_tokens: float
    valid: float
    p50: float
    p90: float
    p99: float
    first: float
    first_rationale: float
    peak_bytes: int = 0
    peak_gpu_bytes: int = 0


def warm_up(peer: Peer, port: int, mode: Mode, requests: Requests) -> None:
    """A few requests that nobody counts: the first of their kind make libraries compile and load.

    Raises:
        LoadError: the server refused a request, or broke off.
    """
    _loop(port, _asks(peer, mode)[0], requests, callers=2, seconds=0)


def measure(
    peer: Peer, port: int, mode: Mode, requests: Requests, streamed: Requests | None, *, callers: int, seconds: float
) -> Cell:
    """Closed loops: one for rates and latencies, and, where there is a stream, a shorter one for the first tokens, so
    that many small events do not slow down what is compared.

    Raises:
        LoadError: the server refused a request, or broke off.
    """
    ask, read = _asks(peer, mode)
    load = _loop(port, ask, requests, callers=callers, seconds=seconds, one_at_a_time=peer.one_at_a_time)
    answers = [read(reply.body) for reply in load.replies]
    latencies = [reply.seconds for reply in load.replies]
    firsts: list[tuple[float, float]] = []
    if streamed is not None and peer.streams and mode == "full":
        streams = _loop(port, peer.ask_stream, streamed, callers=callers, seconds=seconds / 4)
        firsts = [peer.firsts(reply) for reply in streams.replies]
    return Cell(
        peer=peer.name,
        mode=mode,
        callers=callers,
        answers=len(answers),
        seconds=load.seconds,
        per_second=load.per_second,
        rationale_tokens=statistics.mean(answer.rationale_tokens for answer in answers),
        valid=statistics.mean(answer.valid for answer in answers),
        p50=percentile(latencies, 50),
        p90=percentile(latencies, 90),
        p99=percentile(latencies, 99),
        first=_median([first for first, _ in firsts]),
        first_rationale=_median([first for _, first in firsts]),
    )


def _asks(peer: Peer, mode: Mode) -> tuple[Callable[[NewsRequest], Request], Callable[[bytes], Answer]]:
    if mode == "full":
        return peer.ask_full, peer.read_full
    return peer.ask_labels, peer.read_labels


def _loop(
    port: int,
    ask: Callable[[NewsRequest], Request],
    requests: Requests,
    *,
    callers: int,
    seconds: float,
    one_at_a_time: bool = False,
) -> Load:
    def request(number: int) -> Request:
        return ask(requests(number))

    return asyncio.run(closed_loop(port, request, callers=callers, seconds=seconds, one_at_a_time=one_at_a_time))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _median(values: Sequence[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return statistics.median(there) if there else math.nan

"""One cell of the fault matrix: a call of a client over a server that misbehaves, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from fintunnel import AsyncDeepSeekClient, DeepSeekClient, Done, FinTunnelError, NewsAnalysis

from tests.client.faults import OK, Fault
from tests.client.good_answers import RATIONALE
from tests.client.misbehaving_server import misbehaving_server

_SECONDS = 0.5  # a call's deadline


@dataclass(frozen=True)
class Cell:
    """`outcome`: the error's class, or `OK`; `attempts`: requests that the server saw."""

    outcome: str
    attempts: int
    error: FinTunnelError | None = None
    seconds: float = 0.0
    waited: float = 0.0  # s, between the first two attempts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and (self.outcome, self.attempts) == (other.outcome, other.attempts)

    def __hash__(self) -> int:
        return hash((self.outcome, self.attempts))


@contextmanager
def short_waits() -> Iterator[None]:
    """Between attempts, so that three of them fit into the deadline."""
    with patch("fintunnel.transport.retrying._FIRST_WAIT", 0.02):
        yield


def run_cell(fault: Fault, backend: str, call: str, *, asynchronous: bool) -> Cell:
    with short_waits(), misbehaving_server(*fault.behave(backend, call)) as server:
        began = time.monotonic()
        error: FinTunnelError | None = None
        try:
            analysis = ask(server.url, backend, call, asynchronous=asynchronous)
        except FinTunnelError as failure:
            error = failure
        seconds = time.monotonic() - began
        waited = server.times[1] - server.times[0] if len(server.times) > 1 else 0.0
        if error is None:
            right = (analysis.impact, analysis.direction, analysis.rationale) == ("high", "bearish", RATIONALE)
            return Cell(OK if right else "a wrong answer", len(server.requests), None, seconds, waited)
        return Cell(type(error).__name__, len(server.requests), error, seconds, waited)


def ask(url: str, backend: Any, call: str, *, asynchronous: bool, seconds: float = _SECONDS) -> NewsAnalysis:
    options: dict[str, Any] = {"backend": backend, "url": url, "api_key": "secret-key", "timeout": seconds}
    if asynchronous:
        return asyncio.run(_ask_async(options, call))
    with DeepSeekClient(**options) as client:
        if call == "analyze":
            return client.analyze("加息")
        *_, last = client.stream("加息")
    assert isinstance(last, Done)
    whole: NewsAnalysis = last.analysis
    return whole


async def _ask_async(options: dict[str, Any], call: str) -> NewsAnalysis:
    async with AsyncDeepSeekClient(**options) as client:
        if call == "analyze":
            return await client.analyze("加息")
        last = [part async for part in client.stream("加息")][-1]
    assert isinstance(last, Done)
    whole: NewsAnalysis = last.analysis
    return whole

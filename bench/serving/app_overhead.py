"""What the app itself costs: the server on one core, its engine instant, the callers on another core."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from fintunnel.local_server import free_port

from bench.serving.headlines import read_headlines
from bench.serving.measure import Cell, measure
from bench.serving.peers import FinTunnel, Form, Mode
from bench.serving.processes import ServerProcess

__all__ = ["app_overhead"]

P50_BAR_MS = 3.0
PER_SECOND_BAR = 1000.0
_CALLERS = (1, 4, 16, 64)
_MOST_SECONDS = 10.0
_MODES: tuple[Mode, ...] = ("full", "labels")


def app_overhead(seconds: float, say: Callable[[str], None]) -> None:
    """Print a row for each mode and number of callers, then the bars: latency of one caller, rate of 16."""
    own_core, servers_core = _two_cores()
    say("the app around an instant engine, " + ("not pinned" if servers_core is None else "on one core"))
    if own_core is not None:
        os.sched_setaffinity(0, {own_core})
    headlines = read_headlines(None, 200, lambda messages: len(str(messages)), most_tokens=4000)
    port = free_port()
    peer = FinTunnel(
        name="app",
        about="",
        command=[sys.executable, "-m", "bench.serving.instant_app", "--port", str(port)],
        form=Form(0, 0),
        ready="/ready",
        environment={"FINTUNNEL_API_KEY": ""},
    )
    cells: dict[tuple[Mode, int], Cell] = {}
    say("mode    callers  requests/s   p50 ms   p90 ms   p99 ms")
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as folder:
        with ServerProcess(
            peer.command,
            ready=peer.ready,
            port=port,
            log=Path(folder) / "app.log",
            environment=peer.environment,
            core=servers_core,
        ):
            for mode in _MODES:
                for callers in _CALLERS:
                    cell = measure(
                        peer,
                        port,
                        mode,
                        headlines.of_cell(0),
                        None,
                        callers=callers,
                        seconds=min(seconds, _MOST_SECONDS),
                    )
                    cells[mode, callers] = cell
                    p50, p90, p99 = 1000 * cell.p50, 1000 * cell.p90, 1000 * cell.p99
                    say(f"{mode:6}  {callers:7}  {cell.per_second:10.0f}  {p50:7.2f}  {p90:7.2f}  {p99:7.2f}")
    for mode in _MODES:
        p50, rate = 1000 * cells[mode, 1].p50, cells[mode, 16].per_second
        say(f"{mode}: p50 of one caller {p50:.2f} ms  (bar: {P50_BAR_MS:.0f}: {_verdict(p50 <= P50_BAR_MS)})")
        say(
            f"{mode}: {rate:,.0f} requests/s on one core, 16 callers  "
            f"(bar: {PER_SECOND_BAR:,.0f}: {_verdict(rate >= PER_SECOND_BAR)})"
        )


def _two_cores() -> tuple[int | None, int | None]:
    """One for the callers, one for the server; None where processes cannot be pinned, or there is only one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cores[1], cores[0]) if len(cores) >= 2 else (None, None)


def _verdict(met: bool) -> str:
    return "met" if met else "NOT met"

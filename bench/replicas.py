"""One app replica against two behind HAProxy: rates, latency, and the processor time that each part of a request takes.

    python -m bench.replicas [--config deploy/haproxy.cfg] [--seconds 5] [--rounds 5]

The replicas are the app around an engine that answers at once, so that what is measured is the app and the balancer, no
model. Three ways take turns: one replica asked directly, one behind HAProxy, two behind it. Each replica has a core of
its own; the balancer and the callers have the cores after those, or share the last where there are no more. On two
cores the second replica therefore shares its core with balancer and callers: what it adds is a lower bound, and the
processor time of a request says more, as it depends least on who else runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from fintunnel.local_server import free_port

from bench.serving.headlines import Headlines, read_headlines
from bench.serving.measure import Cell, Requests, measure, warm_up
from bench.serving.peers import FinTunnel, Form, Mode
from bench.serving.processes import ServerProcess

_CONFIG = Path(__file__).parents[1] / "deploy" / "haproxy.cfg"
_MARKED_DOWN_S = 4.0  # until the balancer has seen which replicas answer
_APP = FinTunnel(name="", about="", command=[], form=Form(0, 0))


@dataclass(frozen=True)
class Way:
    """How requests reach the app, and the processes that they cost time in."""

    name: str
    port: int
    replicas: list[psutil.Process]
    balancer: list[psutil.Process]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=_CONFIG, help="of HAProxy; addresses come from its environment")
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--modes", nargs="+", choices=["full", "labels"], default=["full", "labels"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        parser.error("needs Linux: each process is given a core")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end with this
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as folder, ExitStack() as started:
        ways, cores = start(arguments.config, Path(folder), started)
        say(f"cores: {', '.join(f'{part} on {core}' for part, core in cores.items())}")
        headlines = read_headlines(None, 200, lambda messages: len(str(messages)), most_tokens=4000)
        for mode in arguments.modes:
            compare(ways, mode, headlines, arguments)


def start(config: Path, folder: Path, started: ExitStack) -> tuple[list[Way], dict[str, int]]:
    """Two replicas, and a balancer in front of the first and one in front of both; the callers' core is taken."""
    own = sorted(os.sched_getaffinity(0))
    parts = ("replica 1", "replica 2", "balancer", "callers")
    cores = {part: own[min(number, len(own) - 1)] for number, part in enumerate(parts)}

    def process(name: str, command: list[str], port: int, environment: Mapping[str, str], core: int) -> psutil.Process:
        log = folder / f"{name}.log"
        server = ServerProcess(
            command, ready="/ready", port=port, log=log, environment=environment, core=core, patience=60
        )
        return psutil.Process(started.enter_context(server).process.pid)

    replicas, addresses = [], []
    for number in (1, 2):
        port, part = free_port(), f"replica {number}"
        command = [sys.executable, "-m", "bench.serving.instant_app", "--port", str(port)]
        replicas.append(process(part, command, port, {"FINTUNNEL_API_KEY": ""}, cores[part]))
        addresses.append(f"127.0.0.1:{port}")
    ways = [Way("one, asked directly", int(addresses[0].rpartition(":")[2]), replicas[:1], [])]
    nobody = f"127.0.0.1:{free_port()}"
    for name, second, behind in (("one behind HAProxy", nobody, 1), ("two behind HAProxy", addresses[1], 2)):
        port = free_port()
        environment = {"BALANCER_BIND": f"127.0.0.1:{port}", "REPLICA_1": addresses[0], "REPLICA_2": second}
        balancer = process(name, ["haproxy", "-f", str(config)], port, environment, cores["balancer"])
        ways.append(Way(name, port, replicas[:behind], [balancer]))
    time.sleep(_MARKED_DOWN_S)
    os.sched_setaffinity(0, {cores["callers"]})
    return ways, cores


def compare(ways: list[Way], mode: Mode, headlines: Headlines, arguments: argparse.Namespace) -> None:
    """Print a line for each way, medians over the rounds; ratios are of one round, and their median is told."""
    runs: dict[str, list[tuple[Cell, list[float]]]] = {way.name: [] for way in ways}
    for way in ways:
        warm_up(_APP, way.port, mode, headlines.of_cell(0))
    for number in range(1, arguments.rounds + 1):
        for way in ways:
            runs[way.name].append(timed(way, mode, headlines.of_cell(number), arguments))
    say(f"\n{mode}, {arguments.callers} callers, medians of {arguments.rounds} x {arguments.seconds:g} s")
    say("                     requests/s   p50 ms   p99 ms   processor ms a request: replicas  balancer  callers")
    for name, cells in runs.items():
        rate, p50, p99 = (
            statistics.median(each(cell) for cell, _ in cells)
            for each in (_per_second, lambda c: c.p50, lambda c: c.p99)
        )
        times = [statistics.median(each) for each in zip(*(milliseconds for _, milliseconds in cells), strict=True)]
        shown = "  ".join(f"{milliseconds:7.3f}" for milliseconds in times)
        say(f"{name:19}  {rate:10.0f}  {1000 * p50:7.2f}  {1000 * p99:7.2f}  {'':22}  {shown}")
    one, two = ways[1].name, ways[2].name
    for other, against in ((one, ways[0].name), (two, one)):
        pairs = zip(runs[other], runs[against], strict=True)
        ratios = sorted(_per_second(mine) / _per_second(theirs) for (mine, _), (theirs, _) in pairs)
        say(f"{other} / {against}: {statistics.median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def timed(way: Way, mode: Mode, requests: Requests, arguments: argparse.Namespace) -> tuple[Cell, list[float]]:
    """The cell, and milliseconds of processor time a request took in the replicas, the balancer and the callers."""
    parts = [way.replicas, way.balancer, [psutil.Process()]]
    before = [processor_seconds(part) for part in parts]
    cell = measure(_APP, way.port, mode, requests, None, callers=arguments.callers, seconds=arguments.seconds)
    spent = [processor_seconds(part) - earlier for part, earlier in zip(parts, before, strict=True)]
    # The window leaves out the first and the last few answers; the processes answered those, too.
    answers = cell.answers + arguments.callers
    return cell, [1000 * seconds / answers for seconds in spent]


def processor_seconds(processes: list[psutil.Process]) -> float:
    times = [each.cpu_times() for process in processes for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _per_second(cell: Cell) -> float:
    return cell.per_second


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

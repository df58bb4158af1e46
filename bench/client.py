"""What the client costs: `analyze` beside bare httpx, over a server that answers at once; and the import.

    python -m bench.client [--calls 2000]

Bare httpx posts the same JSON on one open connection and parses the answer. Blocks of the two alternate in one process,
so that both meet the same machine; the server is another process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from fintunnel import AsyncDeepSeekClient, DeepSeekClient
from fintunnel.local_server import free_port

from bench.serving.processes import ServerProcess

HEADLINE = "美联储宣布加息25个基点"
BODY = {"task": "news", "text": HEADLINE}
_BLOCK = 50  # calls
_BAR = 1.5
_IMPORT_BAR = 0.35  # s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    arguments = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "bench.serving.canned_server", "--port", str(port)]
    with ServerProcess(command, ready="/", port=port, log=Path("bench-client.log")):
        url = f"http://127.0.0.1:{port}"
        sync = _sync(url, arguments.calls)
        asynchronous = asyncio.run(_async(url, arguments.calls))
    Path("bench-client.log").unlink()
    say("| one caller, p50 of a call | bare httpx | `analyze` | ratio |")
    say("| --- | ---: | ---: | ---: |")
    ratios = []
    for name, (bare, ours) in {"synchronous": sync, "asyncio": asynchronous}.items():
        p50 = statistics.median(bare), statistics.median(ours)
        ratios.append(p50[1] / p50[0])
        say(f"| {name} | {p50[0] * 1e6:.0f} µs | {p50[1] * 1e6:.0f} µs | {ratios[-1]:.2f} |")
    imports = [_import_seconds() for _ in range(7)]
    say(f"\nimport fintunnel: {statistics.median(imports):.3f} s (median of 7, in fresh processes)")
    met = max(ratios) <= _BAR and statistics.median(imports) <= _IMPORT_BAR
    say(f"bars: ratio {_BAR}, import {_IMPORT_BAR} s: {'met' if met else 'not met'}")
    return 0 if met else 1


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _sync(url: str, calls: int) -> tuple[list[float], list[float]]:
    with httpx.Client(trust_env=False) as http, DeepSeekClient(backend="finetuned", url=url) as client:

        def bare() -> object:
            response = http.post(f"{url}/analyze", json=BODY)
            response.raise_for_status()
            return response.json()

        return _alternate(lambda: _timed(bare), lambda: _timed(lambda: client.analyze(HEADLINE)), calls)


async def _async(url: str, calls: int) -> tuple[list[float], list[float]]:
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        AsyncDeepSeekClient(backend="finetuned", url=url) as client,
    ):

        async def bare() -> object:
            response = await http.post(f"{url}/analyze", json=BODY)
            response.raise_for_status()
            return response.json()

        async def timed(call: Callable[[], Awaitable[object]]) -> float:
            began = time.perf_counter()
            await call()
            return time.perf_counter() - began

        given: tuple[list[float], list[float]] = [], []
        for _ in range(max(calls // _BLOCK, 1)):
            given[0].extend([await timed(bare) for _ in range(_BLOCK)])
            given[1].extend([await timed(lambda: client.analyze(HEADLINE)) for _ in range(_BLOCK)])
        return given[0][_BLOCK:], given[1][_BLOCK:]


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _alternate(bare: Callable[[], float], ours: Callable[[], float], calls: int) -> tuple[list[float], list[float]]:
    """Seconds of each; the first block of each is warm-up."""
    given: tuple[list[float], list[float]] = [], []
    for _ in range(max(calls // _BLOCK, 1)):
        given[0].extend(bare() for _ in range(_BLOCK))
        given[1].extend(ours() for _ in range(_BLOCK))
    return given[0][_BLOCK:], given[1][_BLOCK:]


def _import_seconds() -> float:
    code = "import time; t = time.perf_counter(); import fintunnel; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())

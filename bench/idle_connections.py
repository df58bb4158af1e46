"""Ten thousand connections that ask nothing: no more than may be are held, and callers are answered meanwhile.

    python -m bench.idle_connections [--connections 10000]

The app around an instant engine, as `fintunnel serve` runs it, on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx
import psutil
from fintunnel.local_server import free_port

from bench.dataset import resident_bytes
from bench.serving.processes import ServerProcess

_PLACES = 512  # the server's default
_READ_SECONDS = 20  # until an idle connection is closed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    arguments = parser.parse_args()
    files = arguments.connections + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    port = free_port()
    command = [sys.executable, "-m", "bench.serving.instant_app", "--port", str(port)]
    environment = {"FINTUNNEL_API_KEY": "the-key-of-nobody", "FINTUNNEL_READ_SECONDS": str(_READ_SECONDS)}
    with tempfile.TemporaryDirectory(prefix="fintunnel-idle-") as folder:
        log = Path(folder) / "server.log"
        with ServerProcess(command, ready="/ready", port=port, log=log, environment=environment) as server:
            return asyncio.run(besiege(port, arguments.connections, psutil.Process(server.process.pid), log))


async def besiege(port: int, count: int, process: psutil.Process, log: Path) -> int:
    before = resident_bytes(process)
    seen: Counter[str] = Counter()
    held: list[asyncio.StreamWriter] = []

    async def connect() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            seen[type(error).__name__] += 1
            return
        held.append(writer)
        try:
            async with asyncio.timeout(2 * _READ_SECONDS):
                answer = await reader.read(4096)
        except TimeoutError:
            seen["still open"] += 1
        except OSError as error:
            seen[type(error).__name__] += 1
        else:
            seen[answer[9:12].decode() if answer else "closed without an answer"] += 1

    answered: Counter[int] = Counter()
    most = 0
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(connect())
            if number % 100 == 99:
                await asyncio.sleep(0.01)
                async with httpx.AsyncClient(trust_env=False) as http:
                    answered[(await http.get(f"http://127.0.0.1:{port}/health")).status_code] += 1
                most = max(most, len(process.net_connections()) - 1)  # without the one that listens
        during = resident_bytes(process)
    for writer in held:
        writer.close()
    lines = log.read_text(encoding="utf-8").count("refused before the app: too_many_connections")
    bars = {
        f"held at once: {most} at most": 0 < most <= _PLACES + 8,  # some are just being closed
        f"told 503 when another needed the place: {seen['503']}": seen["503"] >= count - 2 * _PLACES,
        f"closed when nothing came: {seen['closed without an answer']}": seen["closed without an answer"] <= _PLACES,
        f"left open: {seen['still open']}": not seen["still open"],
        f"callers in between: {dict(answered)}": answered == {200: count // 100},
        f"lines in the log: {lines}": lines == 1,
        f"memory: {before / 2**20:.1f} -> {during / 2**20:.1f} MiB": during < before + 50 * 2**20,
    }
    sys.stdout.write(f"{count:,} connections that ask nothing: {dict(seen)}\n")
    for bar, met in bars.items():
        sys.stdout.write(f"  {'met    ' if met else 'NOT met'} {bar}\n")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""HAProxy with deploy/haproxy.cfg on loopback, where there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fintunnel.local_server import free_port

__all__ = ["CONFIGURATION", "Balancer", "balancer", "haproxy"]

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "haproxy.cfg"
# Read now: a test's environment has no FINTUNNEL_ variables.
_REQUIRED = os.environ.get("FINTUNNEL_REQUIRE_HAPROXY") == "1"


@dataclass
class Balancer:
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def wait_for(self, text: str, *, after: int = 0, seconds: float = 15.0) -> float:
        """The seconds until a line with the text stands in the log, beyond the first `after` bytes."""
        began = time.monotonic()
        while text.encode() not in self.log.read_bytes()[after:]:
            assert time.monotonic() < began + seconds, self.log.read_text(encoding="utf-8")
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            time.sleep(0.02)
        return time.monotonic() - began

    def said(self) -> int:
        """Bytes in the log by now."""
        return len(self.log.read_bytes())


def haproxy() -> str:
    """The program; without it the test is skipped, or fails where FINTUNNEL_REQUIRE_HAPROXY=1."""
    found = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
    if found is None and _REQUIRED:
        pytest.fail("FINTUNNEL_REQUIRE_HAPROXY=1, and there is no haproxy")
    if found is None:
        pytest.skip("no haproxy (Debian and Ubuntu: apt install haproxy)")
    return found


@contextmanager
def balancer(folder: Path, variables: Mapping[str, str], configuration: Path = CONFIGURATION) -> Iterator[Balancer]:
    """Ready to be asked, whether or not a replica is. `variables`: REPLICA_1 and REPLICA_2."""
    program, port = haproxy(), free_port()
    log = folder / "haproxy.log"
    environment = {**os.environ, "BALANCER_BIND": f"127.0.0.1:{port}", **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-db", "-f", str(configuration)], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    running = Balancer(f"http://127.0.0.1:{port}", log, process)
    try:
        deadline = time.monotonic() + 10
        while not _listens(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""Starts an image's command as its container would, but for a free port: health check, an analysis, the stop signal."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from fintunnel.local_server import free_port

__all__ = ["PORT", "Trial", "try_image"]

PORT = 8000
"""where the image's command listens, and its health check asks"""
_READY_SECONDS = 600.0
_STOP_SECONDS = 10.0  # what `docker stop` gives
_HEADLINE = "美联储宣布加息25个基点"
# Loopback: never through a proxy.
_ask = build_opener(ProxyHandler({})).open


@dataclass(frozen=True)
class Trial:
    command: list[str]
    """ENTRYPOINT and CMD"""
    health_check: list[str]
    stop_signal: str
    environment: Mapping[str, str]
    folder: Path


def try_image(trial: Trial, resolve: Mapping[str, str], say: Callable[[str], None]) -> bool:
    """Whether all went well; says what did and what did not.

    Args:
        resolve: addresses in the command, and those that stand for them here.
    """
    for address, here in resolve.items():
        trial = Trial(
            [word.replace(f"//{address}", f"//{here}") for word in trial.command],
            trial.health_check, trial.stop_signal, trial.environment, trial.folder,
        )  # fmt: skip
    refused = subprocess.run(
        trial.command, env=trial.environment, cwd=trial.folder, stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip
    last_line = refused.stderr.strip().rpartition("\n")[2]
    say(f"without a key: status {refused.returncode}: {last_line[:150]}")
    if refused.returncode != 2 or "FINTUNNEL_API_KEY" not in refused.stderr:
        return False

    port, key = free_port(), secrets.token_urlsafe(24)
    command = [*trial.command, "--port", str(port)]
    say(f"$ {' '.join(command)}")
    began = time.monotonic()
    with (trial.folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, env={**trial.environment, "FINTUNNEL_API_KEY": key}, cwd=trial.folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        if not _ready(url, server):
            say((trial.folder / "server.log").read_text(encoding="utf-8", errors="replace")[-2000:])
            return False
        say(f"{time.monotonic() - began:6.1f} s  /ready")
        check = [word.replace(f"127.0.0.1:{PORT}/", f"127.0.0.1:{port}/") for word in trial.health_check]
        healthy = subprocess.run(check, env=trial.environment, cwd=trial.folder, check=False, timeout=30).returncode
        say(f"health check: status {healthy}")
        began = time.monotonic()
        answer = _analyze(url, key)
        say(
            f"{time.monotonic() - began:6.1f} s  /analyze: {answer['model']}, {answer['impact']}, {answer['direction']}"
        )
        began = time.monotonic()
        server.send_signal(signal.Signals[trial.stop_signal])
        status = server.wait(_STOP_SECONDS)
        say(f"{time.monotonic() - began:6.1f} s  {trial.stop_signal}: status {status}")
        # 130 is what a shell says of SIGINT, and `docker ps` then too.
        return healthy == 0 and status == {"SIGINT": 130, "SIGTERM": 0}[trial.stop_signal]
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _ready(url: str, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with _ask(f"{url}/ready", timeout=5):
                return True
        except (URLError, OSError):
            time.sleep(0.2)
    return False


def _analyze(url: str, key: str) -> dict[str, object]:
    body = json.dumps({"task": "news", "text": _HEADLINE}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with _ask(Request(f"{url}/analyze", data=body, headers=headers), timeout=120) as response:
        answer = json.loads(response.read())
    assert isinstance(answer, dict)
    return answer

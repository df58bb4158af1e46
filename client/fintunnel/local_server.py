"""Runs `fintunnel serve` as a process of its own on this machine: for notebooks, demonstrations and tests.

In a notebook the server has to live beside the cell, not in it; secrets that only the notebook knows are handed
on in the process's environment, never on its command line.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from fintunnel.errors import ConnectionFailed

__all__ = ["LocalServer", "free_port"]

_LOG_LINES = 12
_DRAIN_SECONDS = 30.0  # what the server gives running requests unless it is told otherwise
_TOLD_SECONDS = 15.0  # for what it does afterwards


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ConnectionFailed(f"端口 {port} 已被占用，请换一个，或停掉占用它的程序。")


class LocalServer:
    """`fintunnel serve` in the background.

    Args:
        arguments: of `fintunnel serve`, without host and port.
        log: the file that the server's output goes to.
        environment: variables that the server gets besides this process's own.
        port: default: a free one.
        own_session: on POSIX, out of reach of what interrupts this process's group (Ctrl-C, a cell's stop button).
            Then only `stop` ends it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        own_session: bool = False,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        if port is not None:
            _check_free(port)  # else another server's answers would be taken for this one's
        # -P: nothing is imported from the folder that happens to be the current one.
        command = [sys.executable, "-P", "-m", "fintunnel", "serve", *arguments, "--port", str(self.port)]
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._stop_seconds = float(variables.get("FINTUNNEL_DRAIN_SECONDS") or _DRAIN_SECONDS) + _TOLD_SECONDS
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows: for CTRL_BREAK
                start_new_session=own_session,
            )

    def wait_until_ready(self, timeout: float = 1800.0, meanwhile: Callable[[], None] = lambda: None) -> Self:
        """Wait until the model has answered its self-test.

        Args:
            meanwhile: called a few times a second, and once at the end: to show what has come to the log.

        Raises:
            ConnectionFailed: the server ended, or was not ready in `timeout` seconds; with its last lines.
        """
        deadline = time.monotonic() + timeout
        with httpx.Client(trust_env=False, timeout=5.0) as http:
            while time.monotonic() < deadline:
                meanwhile()
                if self.process.poll() is not None:
                    meanwhile()
                    raise ConnectionFailed(f"服务没有启动起来（退出码 {self.process.returncode}）：\n{self.tail()}")
                try:
                    if http.get(f"{self.url}/ready").is_success:
                        meanwhile()
                        return self
                except httpx.TransportError:
                    pass  # not listening yet, or still loading
                time.sleep(0.3)
        self.stop()
        raise ConnectionFailed(f"服务在 {timeout:g} 秒内没有就绪：\n{self.tail()}")

    def tail(self, lines: int = _LOG_LINES) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the server; running requests are given time to finish."""
        if self.process.poll() is None:
            try:
                # On Windows terminate() would kill at once, and leave a tunnel's agent running.
                self.process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
            except OSError:
                self.process.terminate()  # no console to break through
            try:
                self.process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

"""One run of `cloudflared` with a quick tunnel: without an account, under an address of its own each time.

Its log, its arguments and `/ready` are those of https://github.com/cloudflare/cloudflared (2026.8).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread

from fintunnel.terminal_text import system_reason

from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel.agent import Trouble, ask_loopback, public_url

__all__ = ["CloudflaredAgent"]

logger = logging.getLogger("fintunnel.tunnel.cloudflared")

_OPEN_TIMEOUT = 60.0  # s: it asks for an address (its own limit is 15), then connects
_READY_INTERVAL = 5.0  # s between two questions to /ready
_RECONNECTING = 120.0  # s; it doubles its pauses from 1 s
_STOP_SECONDS = 2.0
_URL = re.compile(r"\|\s+(https://[a-z0-9-]+\.trycloudflare\.com)\s+\|")
_METRICS = re.compile(r"Starting metrics server on (127\.0\.0\.1:\d+)/metrics")
_INSTALL = (
    "没有找到 cloudflared。Windows：winget install --id Cloudflare.cloudflared；macOS：brew install cloudflared；"
    "Linux：从 https://github.com/cloudflare/cloudflared/releases 下载。"
    "不在 PATH 里就设 FINTUNNEL_CLOUDFLARED_PATH。"
)
_TOO_MANY = "Cloudflare 说请求太多（429）：匿名隧道开得太频繁。等几分钟再试，或改用 --tunnel ngrok。"
_NOT_CONNECTED = (
    "有了地址但连不上 Cloudflare。网络挡住 UDP 时设 TUNNEL_TRANSPORT_PROTOCOL=http2 再试（要能连出 TCP 7844）。"
)
_NO_ANSWER = "检查网络能否连上 api.trycloudflare.com，或改用 --tunnel ngrok。"
# What a person may have set of its TUNNEL_ variables to get through at all; others would make it another tunnel.
_KEPT = ("TUNNEL_TRANSPORT_PROTOCOL", "TUNNEL_EDGE_IP_VERSION", "TUNNEL_EDGE_BIND_ADDRESS", "TUNNEL_REGION")


class CloudflaredAgent:
    """A quick tunnel to 127.0.0.1:`port`. `program`: the path of `cloudflared`; default: the one on PATH.

    Raises:
        TunnelFailed: there is no such program.
    """

    def __init__(self, port: int, *, program: Path | None = None) -> None:
        found = shutil.which("cloudflared" if program is None else str(program))
        if found is None and program is not None:
            raise TunnelFailed(f"FINTUNNEL_CLOUDFLARED_PATH 指向的不是可以执行的程序：{program}。改成它的完整路径。")
        if found is None:
            raise TunnelFailed(_INSTALL)
        self._program = found
        self._port = port
        self._closed = Event()
        self._closing = Lock()
        self._folder: TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: Thread | None = None
        self._url: str | None = None
        self._metrics: str | None = None
        self._last_lines: deque[str] = deque(maxlen=20)
        self._ready_trouble: Trouble | None = None
        self._ready_asked = 0.0

    def open(self) -> str:
        """As `Agent.open`."""
        try:
            self._start()
            return self._until_ready()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        with self._closing:
            if self._closed.is_set():
                return
            self._folder = TemporaryDirectory(prefix="fintunnel-cloudflared-")
            # The user's own file in ~/.cloudflared is for tunnels with an account: its rules would apply here too.
            config = Path(self._folder.name, "config.yml")
            config.write_text("{}\n", encoding="utf-8")
            command = [self._program, "tunnel", "--no-autoupdate", "--config", str(config), "--loglevel", "info"]
            command += ["--metrics", "127.0.0.1:0", "--url", f"http://127.0.0.1:{self._port}"]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    env=_environment(),
                    # Else Ctrl+C would end it before the server has answered what it accepted.
                    start_new_session=os.name == "posix",
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
            except OSError as error:
                raise TunnelFailed(f"cloudflared 启动不了：{system_reason(error)}。检查 {self._program}。") from error
            self._reader = Thread(target=self._read, args=[self._process], name="cloudflared-log", daemon=True)
            self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                logger.debug("%s", line.rstrip())
                self._last_lines.append(line.strip())
                if found := _METRICS.search(line):
                    self._metrics = found[1]
                if found := _URL.search(line):
                    self._url = public_url(found[1])

    def _until_ready(self) -> str:
        deadline = time.monotonic() + _OPEN_TIMEOUT
        while not self._closed.wait(0.1):
            if self._process is None or self._process.poll() is not None or time.monotonic() >= deadline:
                raise TunnelFailed(f"cloudflared 隧道没有打开：{self._reason()}")
            if self._url is not None and self._is_ready():
                self._ready_asked = time.monotonic()
                return self._url
        raise TunnelFailed("cloudflared 隧道在打开时被关掉了。")

    def _is_ready(self) -> bool:
        if self._metrics is None:
            return False
        try:
            return ask_loopback(f"http://{self._metrics}/ready")[0] == 200
        except OSError:
            return False

    def _reason(self) -> str:
        if self._reader is not None and self._process is not None and self._process.poll() is not None:
            self._reader.join(1.0)  # the last line is the one that says why
        lines = list(self._last_lines)
        if self._url is not None:
            return _NOT_CONNECTED
        if any("429 Too Many Requests" in line or "error code: 1015" in line for line in lines):
            return _TOO_MANY
        last = next((line for line in reversed(lines) if " INF " not in line), "它没有说原因")
        return f"{last[:300]}\n{_NO_ANSWER}"

    def trouble(self) -> Trouble | None:
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            return Trouble(f"cloudflared ended with status {status}")
        if time.monotonic() - self._ready_asked >= _READY_INTERVAL:
            ready = self._is_ready()
            self._ready_trouble = None if ready else Trouble("cloudflared has no connection", _RECONNECTING)
            self._ready_asked = time.monotonic()
        return self._ready_trouble

    def close(self) -> None:
        self._closed.set()
        with self._closing:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            if self._reader is not None:
                self._reader.join(_STOP_SECONDS)
            if self._folder is not None:
                self._folder.cleanup()
            self._folder = None


def _environment() -> dict[str, str]:
    """Without this project's keys, and without what would make it another tunnel or a talkative log."""
    strange = ("FINTUNNEL_", "DEEPSEEK_", "NGROK_", "TUNNEL_")
    return {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(strange)}

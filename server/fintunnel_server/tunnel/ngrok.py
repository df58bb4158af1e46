"""One run of the ngrok agent, which pyngrok starts, speaks to and ends."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any

from fintunnel.transport.ngrok import METADATA

from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel.agent import AgentLog, Trouble, ask_loopback, public_url
from fintunnel_server.tunnel.ngrok_errors import TOKEN_PAGE, tunnel_failed

__all__ = ["NgrokAgent"]

logger = logging.getLogger("fintunnel.tunnel.ngrok")

_DOWNLOAD_TIMEOUT, _AGENT_TIMEOUT = 60, 30  # s; pyngrok's own 6, 15 and 4 are short for a slow line abroad
_API_INTERVAL = 10.0  # s between two questions to the agent's local API
_RECONNECTING = 90.0  # s; the agent itself tries again at least every 30 s
_UNRESPONSIVE = 30.0  # s
_WITHOUT_ENDPOINT = 5.0  # s; nothing brings it back
_NAME = "fintunnel"  # of the endpoint in the agent's API
# What the agent logs of its session (msg=…). "tunnel session started" comes before its endpoints are online again.
_LOST = ("session closed, starting reconnect loop", "failed to reconnect session", "heartbeat timeout")
_ESTABLISHED = "client session established"


class NgrokAgent:
    """An agent that forwards to 127.0.0.1:`port`.

    `domain` is `NAME.ngrok-free.dev` or its https URL; without one ngrok chooses. The agent is the program at
    PYNGROK_NGROK_PATH, else pyngrok's, downloaded on first use. The token goes into a private file, which is all of
    the agent's configuration.

    Raises:
        TunnelFailed: the token, the domain or the program cannot be right.
    """

    def __init__(self, port: int, *, authtoken: str | None, domain: str | None = None) -> None:
        self._token = (authtoken or "").strip()
        if not self._token:
            raise TunnelFailed(f"缺少 NGROK_AUTHTOKEN。到 {TOKEN_PAGE} 免费注册并复制，写进这个环境变量。")
        self._upstream = f"http://127.0.0.1:{port}"
        self._options = {"metadata": METADATA} | ({} if domain is None else {"url": _https_url(domain)})
        path = os.environ.get("PYNGROK_NGROK_PATH")
        if path and not Path(path).is_file():
            raise TunnelFailed(f"PYNGROK_NGROK_PATH 指向的文件不存在：{path}。改成 ngrok 程序的完整路径。")
        self._closed = Event()
        self._opening_over = Event()
        self._hurry = Event()  # either of the two
        self._closing = Lock()
        self._folder: TemporaryDirectory[str] | None = None
        self._config: Any = None
        self._process: Any = None
        self._lost: str | None = None
        self._api_trouble: Trouble | None = None
        self._api_asked = 0.0

    def open(self) -> str:
        """As `Agent.open`: an agent in a process that has one already is refused."""
        from pyngrok import conf, installer, ngrok, process
        from pyngrok.exception import PyngrokError

        binary = str(os.environ.get("PYNGROK_NGROK_PATH") or conf.DEFAULT_NGROK_PATH)
        if process.is_process_running(binary):  # pyngrok would share it, and we would kill another's agent
            raise TunnelFailed("本进程已经开着一个 ngrok。先关掉那条隧道（ngrok.kill()），再打开新的。")
        for name in ("pyngrok.ngrok", "pyngrok.process", "pyngrok.process.ngrok"):
            # Not removed on exit: pyngrok may log one more line after the kill. An equal filter is added once.
            logging.getLogger(name).addFilter(AgentLog(logger, self._token))
        try:
            if not Path(binary).exists():
                installer.install_ngrok(binary, timeout=_DOWNLOAD_TIMEOUT)
            self._config = self._configure(conf.PyngrokConfig, binary)
            Thread(target=self._kill_if_late, args=[binary], name="ngrok-opening", daemon=True).start()
            with _loopback_past_proxies():
                tunnel = ngrok.connect(self._upstream, name=_NAME, pyngrok_config=self._config, **self._options)
            self._process = process._current_processes.get(binary)  # get_process might start another one
            if self._process is None:
                raise PyngrokError("the agent ended when it had opened the tunnel")
            url = public_url(str(tunnel.public_url))
        except (PyngrokError, HTTPException, OSError, ValueError) as error:
            self.close()
            raise tunnel_failed(error, self._token) from None  # the cause repeats the agent's log, token and all
        except BaseException:
            self.close()
            raise
        finally:
            self._opening_over.set()
            self._hurry.set()
        if self._closed.is_set():
            self.close()
            raise TunnelFailed("ngrok 隧道在打开时被关掉了。")
        self._api_asked = time.monotonic()
        return url

    def _configure(self, make: Any, binary: str) -> Any:
        self._folder = TemporaryDirectory(prefix="fintunnel-ngrok-")
        path = Path(self._folder.name, "ngrok.yml")
        path.touch(mode=0o600)
        # inspect_db_size: the agent would keep all requests, keys included, for its local web page.
        agent = f"agent:\n  authtoken: {json.dumps(self._token)}\n  inspect_db_size: -1\n"
        path.write_text(f'version: "3"\n{agent}', encoding="utf-8")
        config = make(
            binary,
            str(path),
            startup_timeout=_AGENT_TIMEOUT,
            request_timeout=_AGENT_TIMEOUT,
            log_event_callback=self._heed,
            # Else Ctrl+C would end the agent before the server has answered what it accepted.
            start_new_session=os.name == "posix",
        )
        config.auth_token = None  # pyngrok took NGROK_AUTHTOKEN; it would put it on the command line
        return config

    def _kill_if_late(self, binary: str) -> None:
        """pyngrok waits for the next log line without a limit, holds its lock meanwhile, and hands out no handle before
        the agent is up: so that `open` ends in bounded time, and at once when the agent is closed."""
        from pyngrok import process

        self._hurry.wait(2 * _AGENT_TIMEOUT)  # pyngrok's two limits: to start, to answer
        while not self._opening_over.wait(0.05):
            if started := process._current_processes.get(binary):
                started.proc.kill()

    def _heed(self, log: Any) -> None:
        """A log line; in pyngrok's thread, which an exception would end."""
        message = str(log.msg or "")
        if message.startswith(_LOST):
            self._lost = re.sub(r"(\\[nr]|\s)+", " ", str(log.err or message).replace(self._token, "***"))[:300]
        elif message.startswith(_ESTABLISHED):
            self._lost = None

    def trouble(self) -> Trouble | None:
        status = self._process.proc.poll()
        if status is not None:
            return Trouble(f"the ngrok agent ended with status {status}")
        if self._lost is not None:
            return Trouble(f"the ngrok agent lost its session ({self._lost})", _RECONNECTING)
        if time.monotonic() - self._api_asked >= _API_INTERVAL:
            self._api_trouble = self._ask_api()
            self._api_asked = time.monotonic()
        return self._api_trouble

    def _ask_api(self) -> Trouble | None:
        try:
            status, answer = ask_loopback(f"{self._process.api_url}/api/endpoints")
        except OSError:
            return Trouble("the ngrok agent's local API does not answer", _UNRESPONSIVE)
        # Only a list without any is taken for a loss: ours is the only one, and a working tunnel must not be replaced
        # for a field that a later agent calls otherwise.
        if status == 200 and isinstance(answer, dict) and answer.get("endpoints", answer.get("tunnels")) == []:
            return Trouble("the ngrok agent runs without its endpoint", _WITHOUT_ENDPOINT)
        return None

    def close(self) -> None:
        self._closed.set()
        self._hurry.set()
        with self._closing:
            if self._config is not None:
                from pyngrok import ngrok

                ngrok.kill(self._config)
            if self._folder is not None:
                self._folder.cleanup()
            self._config = self._folder = None


def _https_url(domain: str) -> str:
    host = domain.strip().removeprefix("https://").rstrip("/").lower()
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
        raise TunnelFailed(f"ngrok 域名写法不对：{domain!r}。应当像 NAME.ngrok-free.dev，不带端口和路径。")
    return f"https://{host}"


@contextmanager
def _loopback_past_proxies() -> Iterator[None]:
    """Inside, pyngrok reaches its agent on 127.0.0.1 also where the environment names an HTTP proxy."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = f"{before or os.environ.get('NO_PROXY', '')},127.0.0.1".lstrip(",")
    try:
        yield
    finally:
        os.environ.pop("no_proxy")
        if before is not None:
            os.environ["no_proxy"] = before

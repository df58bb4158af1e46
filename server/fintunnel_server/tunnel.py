"""A public https URL for the local server, through an ngrok agent that pyngrok starts and stops."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from fintunnel_server.errors import TunnelFailed

__all__ = ["open_tunnel"]

_DASHBOARD = "https://dashboard.ngrok.com"
_TOKEN_PAGE = f"{_DASHBOARD}/get-started/your-authtoken"
_BAD_TOKEN = f"NGROK_AUTHTOKEN 不对或已作废。到 {_TOKEN_PAGE} 重新复制完整的 authtoken。"
_TOO_FAST = "请求太频繁，超出了套餐的速率。等一分钟再试；客户端要合并请求、复用连接，不要隔着隧道轮询。"
# https://ngrok.com/docs/errors/reference
_ADVICE = {
    "105": _BAD_TOKEN,
    "107": _BAD_TOKEN,
    "108": f"这个账号的 ngrok 程序开得太多。关掉别处的 ngrok（见 {_DASHBOARD}/agents），再启动。",
    "320": f"这个域名属于别的账号。到 {_DASHBOARD}/domains 查自己的域名，或换对应账号的 authtoken。",
    "334": f"这个网址已在别处上线。先停掉那边的 ngrok（见 {_DASHBOARD}/endpoints），或换一个域名。",
    "702": _TOO_FAST,
    "734": _TOO_FAST,
    "727": f"本月的请求数已用完。等下个月重置，或到 {_DASHBOARD}/billing 升级套餐。",
    "3200": "这个网址没有上线。确认服务端和 ngrok 仍在运行，网址没有写错。",
    "4018": f"没有 authtoken，或账号还没有验证邮箱。到 {_TOKEN_PAGE} 复制，写进 NGROK_AUTHTOKEN。",
    "8012": "隧道通了，但本机端口没有服务在听。先启动服务端，再看端口是否一致。",
    "9009": "免费账号的 ngrok 程序不能走 HTTP 代理。取消环境变量 http_proxy 和 HTTP_PROXY，再启动。",
    "9040": "ngrok 不接受来自这个 IP 地址的连接（受限地区或匿名代理）。换一个网络出口。",
}
_DOWNLOAD_TIMEOUT, _AGENT_TIMEOUT = 60, 30  # s; pyngrok's own 6, 15 and 4 are short for a slow line abroad


@dataclass(frozen=True)
class _Redact(logging.Filter):
    """Strikes the secret out of log records: ngrok repeats a token that it rejects in its own log."""

    secret: str = field(repr=False)

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(self.secret, "***"), None
        return True


def _https_url(domain: str) -> str:
    host = domain.strip().removeprefix("https://").rstrip("/").lower()
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
        raise TunnelFailed(f"ngrok 域名写法不对：{domain!r}。应当像 NAME.ngrok-free.dev，不带端口和路径。")
    return f"https://{host}"


def _failure(error: Exception, token: str) -> TunnelFailed:
    from pyngrok.exception import PyngrokNgrokInstallError

    lines = [str(error), *(log.line for log in getattr(error, "ngrok_logs", []))]
    found = re.search(r"ERR_NGROK_(\d+)", "\n".join(lines))
    if found and found[1] in _ADVICE:
        return TunnelFailed(f"ngrok 隧道没有打开（{found[0]}）：{_ADVICE[found[1]]}")
    reason = re.sub(r"(\\[nr]|\s)+", " ", lines[0].replace(token, "***"))[:500]
    if isinstance(error, PyngrokNgrokInstallError):
        advice = "到 https://ngrok.com/download 手工下载，设 PYNGROK_NGROK_PATH；有代理就设 HTTPS_PROXY。"
    else:  # /api/endpoints came with agent 3.30
        advice = "检查网络能否连上 ngrok；自备的 ngrok 程序要可执行，3.30 或更新的版本（ngrok update）。"
    return TunnelFailed(f"ngrok 隧道没有打开：{reason}\n{advice}")


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


@contextmanager
def open_tunnel(port: int, *, authtoken: str | None, domain: str | None = None) -> Iterator[str]:
    """Open an ngrok tunnel to 127.0.0.1:`port`, yield its public https URL, kill the agent on exit.

    `domain` is `NAME.ngrok-free.dev` or its https URL; without one ngrok chooses. The agent is the binary at
    PYNGROK_NGROK_PATH, else pyngrok's, downloaded on first use. Raises `TunnelFailed`, which says what to do.
    """
    token = (authtoken or "").strip()
    if not token:
        raise TunnelFailed(f"缺少 NGROK_AUTHTOKEN。到 {_TOKEN_PAGE} 免费注册并复制，写进这个环境变量。")
    options = {} if domain is None else {"url": _https_url(domain)}
    from pyngrok import conf, installer, ngrok, process
    from pyngrok.exception import PyngrokError

    binary = Path(os.environ.get("PYNGROK_NGROK_PATH") or conf.DEFAULT_NGROK_PATH)
    if os.environ.get("PYNGROK_NGROK_PATH") and not binary.is_file():
        raise TunnelFailed(f"PYNGROK_NGROK_PATH 指向的文件不存在：{binary}。改成 ngrok 程序的完整路径。")
    if process.is_process_running(str(binary)):  # pyngrok would share it, and we would kill another's agent
        raise TunnelFailed("本进程已经开着一个 ngrok。先关掉那条隧道（ngrok.kill()），再打开新的。")

    def kill_silent_agent() -> None:
        # pyngrok waits for the next log line without a limit and hands out no handle before the agent is up.
        if started := process._current_processes.get(str(binary)):
            started.proc.kill()

    watchdog = Timer(2 * _AGENT_TIMEOUT, kill_silent_agent)  # pyngrok's two limits: to start, to answer
    watchdog.daemon = True
    for name in ("pyngrok.ngrok", "pyngrok.process", "pyngrok.process.ngrok"):
        # Not removed on exit: pyngrok may log one more line after the kill. An equal filter is added once.
        logging.getLogger(name).addFilter(_Redact(token))
    with TemporaryDirectory(prefix="fintunnel-ngrok-") as folder:
        path = Path(folder, "ngrok.yml")
        path.touch(mode=0o600)
        path.write_text(f'version: "3"\nagent:\n  authtoken: {json.dumps(token)}\n', encoding="utf-8")
        config = conf.PyngrokConfig(
            str(binary), str(path), startup_timeout=_AGENT_TIMEOUT, request_timeout=_AGENT_TIMEOUT
        )
        config.auth_token = None  # pyngrok took NGROK_AUTHTOKEN; it would put it on the command line
        try:
            try:
                if not binary.exists():
                    installer.install_ngrok(str(binary), timeout=_DOWNLOAD_TIMEOUT)
                with _loopback_past_proxies():
                    watchdog.start()
                    tunnel = ngrok.connect(
                        f"http://127.0.0.1:{port}", name="fintunnel", pyngrok_config=config, **options
                    )
            except (PyngrokError, HTTPException, OSError, ValueError) as error:
                raise _failure(error, token) from None  # the cause repeats the agent's log, token and all
            finally:
                watchdog.cancel()
            yield str(tunnel.public_url)
        finally:
            ngrok.kill(config)

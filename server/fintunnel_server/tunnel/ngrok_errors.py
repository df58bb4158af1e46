"""ngrok's error codes: what each asks the user to do, and whether trying again can heal it.

Codes: https://ngrok.com/docs/errors/reference
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fintunnel_server.errors import TunnelFailed

__all__ = ["ADVICE", "TOKEN_PAGE", "Advice", "tunnel_failed"]

_DASHBOARD = "https://dashboard.ngrok.com"
TOKEN_PAGE = f"{_DASHBOARD}/get-started/your-authtoken"


@dataclass(frozen=True)
class Advice:
    """`heals`: trying again may succeed without anybody doing something."""

    text: str
    heals: bool = False


_BAD_TOKEN = Advice(f"NGROK_AUTHTOKEN 不对或已作废。到 {TOKEN_PAGE} 重新复制完整的 authtoken。")
_TOO_FAST = Advice(
    "请求太频繁，超出了套餐的速率。等一分钟再试；客户端要合并请求、复用连接，不要隔着隧道轮询。", heals=True
)
ADVICE = {
    "105": _BAD_TOKEN,
    "107": _BAD_TOKEN,
    # A session of ours that ended without a word is counted until ngrok misses its heartbeats; so with 334.
    "108": Advice(f"这个账号的 ngrok 程序开得太多。关掉别处的 ngrok（见 {_DASHBOARD}/agents），再启动。", heals=True),
    "121": Advice("ngrok 程序太旧。运行 ngrok update，或删掉旧的让它重新下载，再启动。"),
    "320": Advice(f"这个域名属于别的账号。到 {_DASHBOARD}/domains 查自己的域名，或换对应账号的 authtoken。"),
    "334": Advice(
        f"这个网址已在别处上线。先停掉那边的 ngrok（见 {_DASHBOARD}/endpoints；刚关掉的要等一分钟），或换一个域名。",
        heals=True,
    ),
    "702": _TOO_FAST,
    "727": Advice(f"本月的请求数已用完。等下个月重置，或到 {_DASHBOARD}/billing 升级套餐。"),
    "734": _TOO_FAST,
    "3200": Advice("这个网址没有上线。确认服务端和 ngrok 仍在运行，网址没有写错。", heals=True),
    "4018": Advice(f"没有 authtoken，或账号还没有验证邮箱。到 {TOKEN_PAGE} 复制，写进 NGROK_AUTHTOKEN。"),
    "8012": Advice("隧道通了，但本机端口没有服务在听。先启动服务端，再看端口是否一致。", heals=True),
    "9009": Advice("免费账号的 ngrok 程序不能走 HTTP 代理。取消环境变量 http_proxy 和 HTTP_PROXY，再启动。"),
    "9040": Advice("ngrok 不接受来自这个 IP 地址的连接（受限地区或匿名代理）。换一个网络出口。"),
}
_DOWNLOAD = "到 https://ngrok.com/download 手工下载，设 PYNGROK_NGROK_PATH；有代理就设 HTTPS_PROXY。"
# /api/endpoints came with agent 3.30.
_OTHERWISE = "检查网络能否连上 ngrok；自备的 ngrok 程序要可执行，3.30 或更新的版本（ngrok update）。"


def tunnel_failed(error: Exception, token: str) -> TunnelFailed:
    """What pyngrok raised, as the user is told it: without the token, which ngrok repeats where it rejects it."""
    from pyngrok.exception import PyngrokNgrokInstallError

    lines = [str(error), *(log.line for log in getattr(error, "ngrok_logs", []))]
    for code in re.findall(r"ERR_NGROK_(\d+)", "\n".join(lines)):
        if code in ADVICE:
            advice = ADVICE[code]
            return TunnelFailed(f"ngrok 隧道没有打开（ERR_NGROK_{code}）：{advice.text}", permanent=not advice.heals)
    reason = re.sub(r"(\\[nr]|\s)+", " ", lines[0].replace(token, "***"))[:500]
    advised = _DOWNLOAD if isinstance(error, PyngrokNgrokInstallError) else _OTHERWISE
    return TunnelFailed(f"ngrok 隧道没有打开：{reason}\n{advised}")

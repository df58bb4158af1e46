"""ngrok as a caller meets it: its domains, the page that it shows browsers first, its error codes.

Codes: https://ngrok.com/docs/errors/reference
"""

from __future__ import annotations

import json
from typing import NamedTuple

__all__ = ["ERROR_CODE", "METADATA", "SKIP_WARNING", "Trouble", "is_ngrok", "is_our_metadata", "trouble"]

ERROR_CODE = "ngrok-error-code"  # the header by which an answer of ngrok itself is told
SKIP_WARNING = "ngrok-skip-browser-warning"  # a header of any value; the free plan's page for browsers stays away
METADATA = '{"app":"fintunnel"}'  # of the server's endpoint, by which a client with an API key finds it

_DOMAINS = (".ngrok-free.dev", ".ngrok-free.app", ".ngrok.app", ".ngrok.dev", ".ngrok.io")


class Trouble(NamedTuple):
    """`passing`: it may be over when the call is made again."""

    meaning: str
    advice: str
    passing: bool


_START = "请在服务那边重新运行 fintunnel serve --tunnel ngrok，并核对 FINTUNNEL_URL。"
_PLAN = "下个月自动恢复；现在可换 --tunnel cloudflared，或在 dashboard.ngrok.com 升级。"
_SLOW = "一分钟内自动恢复；请少开连接，多用 analyze_many。"
_TROUBLES = {
    "ERR_NGROK_3200": Trouble("隧道没有上线", _START, True),  # it reopens by itself when its agent comes back
    "ERR_NGROK_3004": Trouble("隧道后面的服务回答得不对", "请看服务那边的日志。", True),
    "ERR_NGROK_8012": Trouble("隧道通了，但后面的服务没有在运行", "请等模型加载完，或看服务那边的日志。", True),
    "ERR_NGROK_702": Trouble("隧道的连接太频繁", _SLOW, True),
    "ERR_NGROK_734": Trouble("隧道的请求太频繁", _SLOW, True),
    "ERR_NGROK_725": Trouble("ngrok 账户这个月的流量用完了", _PLAN, False),
    "ERR_NGROK_727": Trouble("ngrok 账户这个月的请求数用完了", _PLAN, False),
    "ERR_NGROK_108": Trouble("ngrok 账户同时开的隧道太多", "请停掉别处的 ngrok。", False),
    "ERR_NGROK_334": Trouble("这个网址已在别处上线", "请停掉那边的 ngrok。", False),
    "ERR_NGROK_4018": Trouble("隧道那边没有 ngrok 的令牌", "请在服务那边设置 NGROK_AUTHTOKEN。", False),
    "ERR_NGROK_6024": Trouble("ngrok 显示了给浏览器的提示页", f"请求头里要有 {SKIP_WARNING}。", False),
}


def is_ngrok(host: str) -> bool:
    """A domain of one's own is not told from others; it has no such page."""
    return host.endswith(_DOMAINS)


def trouble(code: str, status: int) -> Trouble:
    """What an answer with the header `Ngrok-Error-Code: code` means."""
    known = _TROUBLES.get(code)
    return known or Trouble("隧道没有把请求送到服务", _START, status == 429 or status >= 500)


def is_our_metadata(metadata: object) -> bool:
    """Whether an endpoint's metadata is what FinTunnel's server gives its own."""
    try:
        parsed = json.loads(metadata) if isinstance(metadata, str) else None
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and parsed.get("app") == "fintunnel"

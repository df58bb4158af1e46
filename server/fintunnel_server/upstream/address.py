"""An upstream's address and the names of its models: whole and checked, before anything is sent."""

from __future__ import annotations

import ipaddress
import re

import httpx
from fintunnel.wire import BASE_ADAPTER

from fintunnel_server.errors import SettingsError

__all__ = ["adapter_name", "api_url", "extra_fields", "is_loopback"]

_VERSION = re.compile(r"v\d+")


def api_url(address: str) -> str:
    """What stands before `/chat/completions`, for a host (`/v1` is added), a base (`…/v1`, `…/api/v3`) or the whole
    address.

    Raises:
        SettingsError: no http(s) address, or one that holds a name, a password or a query.
    """
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, UnicodeError, TypeError):
        raise SettingsError("--upstream 不是有效的地址") from None
    if url.userinfo or url.query or url.fragment:
        raise SettingsError(
            "--upstream 里不能带密码、? 参数或 #；密钥请放在环境变量 FINTUNNEL_UPSTREAM_API_KEY 里（命令行别人看得到）"
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError("--upstream 应以 http:// 或 https:// 开头，例如 http://127.0.0.1:8001")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise SettingsError(f"--upstream 的端口应是 1 到 65535，不是 {url.port}")
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    if not _VERSION.fullmatch(path.rpartition("/")[2]):
        path += "/v1"
    return str(url.copy_with(path=path))


def is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def extra_fields(url: str) -> dict[str, object]:
    """What one server needs in every request. DeepSeek's own thinks unless told otherwise, and the thinking would eat
    the answer's tokens."""
    host = httpx.URL(url).host
    return {"thinking": {"type": "disabled"}} if host == "deepseek.com" or host.endswith(".deepseek.com") else {}


def adapter_name(model: str) -> str:
    """The name under which requests ask for an upstream's tuned model: the last part of its path.

    Raises:
        SettingsError: it is empty, or reserved.
    """
    name = re.split(r"[/\\]", model.strip().rstrip("/\\"))[-1]
    if not name:
        raise SettingsError("--upstream-model 是空白的")
    if name == BASE_ADAPTER:
        raise SettingsError(
            f"上游的模型不能叫 {BASE_ADAPTER}：这个名字保留给不带适配器的基座。"
            "请在上游换一个名字（如 --served-model-name）。"
        )
    return name

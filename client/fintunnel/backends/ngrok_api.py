"""Finds the tunnel of FinTunnel's server among an ngrok account's endpoints.

API: https://ngrok.com/docs/api/resources/endpoints
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from fintunnel.errors import ConfigurationError, MalformedAnswerError, TunnelError
from fintunnel.transport.call import Budget, Call
from fintunnel.transport.http_clients import checked_url
from fintunnel.transport.ngrok import is_our_metadata
from fintunnel.transport.sender import Sender
from fintunnel.transport.target import Advice, FixedAddress, Target, Timeouts

__all__ = ["tunnel_url"]

_API = "https://api.ngrok.com"
_SECONDS = 15.0
_MAX_PAGES = 10


def tunnel_url(api_key: SecretStr, budget: Budget | None = None, *, api: str | None = None) -> str:
    """The public URL of the account's open endpoint that carries FinTunnel's metadata.

    Raises:
        TunnelError: none is open.
        ConfigurationError: more than one is.
        FinTunnelError: the API does not answer, or refuses the key.
    """
    target = Target(
        name="ngrok 的 API",
        address=FixedAddress(api or _API),
        api_key=api_key,
        timeouts=Timeouts(total=_SECONDS),
        max_retries=1,
        advice=Advice(
            unreachable="请检查网络和代理，或直接设置 FINTUNNEL_URL。",
            slow="请检查网络和代理，或直接设置 FINTUNNEL_URL。",
            key="请检查 NGROK_API_KEY（不是 NGROK_AUTHTOKEN）。",
            no_key="请设置 NGROK_API_KEY。",
        ),
        tunnelled=False,
        headers={"Ngrok-Version": "2"},
    )
    sender = Sender(target)
    try:
        urls = sorted(set(_our_urls(sender, budget or Budget.of(_SECONDS))))
    finally:
        sender.close()
    if not urls:
        raise TunnelError(
            "ngrok 账户里没有开着的 FinTunnel 隧道",
            advice="请先运行 fintunnel serve --tunnel ngrok。",
            transient=False,
        )
    if len(urls) > 1:
        raise ConfigurationError(
            f"ngrok 账户里开着 {len(urls)} 条 FinTunnel 隧道",
            advice=f"请把 FINTUNNEL_URL 设成其中之一：{'、'.join(urls)}。",
        )
    return urls[0]


def _our_urls(sender: Sender, budget: Budget) -> Iterator[str]:
    path = "/endpoints"
    for _ in range(_MAX_PAGES):
        page = sender.send(Call(path), budget).json
        endpoints = page.get("endpoints")
        if not isinstance(endpoints, list):
            raise MalformedAnswerError("ngrok 的 API 回答里没有 endpoints")
        for endpoint in endpoints:
            if isinstance(endpoint, dict) and is_our_metadata(endpoint.get("metadata")):
                yield _https_url(endpoint)
        following = page.get("next_page_uri")
        before = sender.target.address.url()
        if not isinstance(following, str) or not following.startswith(f"{before}/"):
            return  # the last page; the key goes to no other host
        path = following.removeprefix(before)


def _https_url(endpoint: dict[str, Any]) -> str:
    url = str(endpoint.get("public_url") or endpoint.get("url") or "")
    if checked_url(url, "ngrok 给的网址").scheme != "https":
        raise ConfigurationError("ngrok 给的网址不是 https 的")  # a key is sent there
    return url

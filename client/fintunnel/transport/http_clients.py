"""The connections of one backend: one pool, the environment's proxy where it applies, TLS by its rules."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from fintunnel.errors import ConfigurationError
from fintunnel.terminal_text import system_reason
from fintunnel.transport.async_transport import AsyncBackend, AsyncTransport
from fintunnel.transport.deadline import DeadlineBackend, DeadlineTransport

__all__ = ["checked_url", "is_loopback", "make_async_client", "make_client", "place_of", "proxy_for", "route_url"]

_MAX_CONNECTIONS = 100
_KEEPALIVE = 20
_KEEPALIVE_SECONDS = 30.0  # shorter than what proxies and tunnels keep an idle connection for


@lru_cache(maxsize=32)  # parsing takes as long as a tenth of a call on loopback, and a client has few addresses
def checked_url(address: str, variable: str) -> httpx.URL:
    """
    Raises:
        ConfigurationError: no http(s) address of a host, or one that holds a name, a password, a query.
    """
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, UnicodeError, TypeError, AttributeError):
        raise ConfigurationError(f"{variable} 不是有效的地址") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{variable} 应以 http:// 或 https:// 开头，例如 http://127.0.0.1:8000")
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError(f"{variable} 里不能带密码、? 参数或 #；密钥有自己的环境变量")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise ConfigurationError(f"{variable} 的端口应是 1 到 65535，不是 {url.port}")
    return url


@lru_cache(maxsize=256)
def route_url(base: httpx.URL, path: str) -> httpx.URL:
    """The address of a route under a backend's address; `path` begins with a slash."""
    return httpx.URL(str(base).rstrip("/") + path)


def place_of(url: httpx.URL) -> str:
    """Host and port, as an error names them."""
    return url.netloc.decode()


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The environment's proxy (on Windows and macOS also the system's) for an address; none for this machine itself.

    Raises:
        ConfigurationError: the proxy's address is of no use, or SOCKS support is missing.
    """
    if is_loopback(url.host) or proxy_bypass(f"{url.host}:{url.port}" if url.port else url.host):
        return None
    proxies = getproxies()
    address = (proxies.get(url.scheme) or proxies.get("all") or "").strip()
    if not address:
        return None
    if "://" not in address:
        address = f"http://{address}"
    scheme = address.partition("://")[0].lower()
    # The address may hold a password: it is not shown.
    if scheme not in ("http", "https", "socks5", "socks5h"):
        raise ConfigurationError(f"不支持 {scheme}:// 代理", advice="请写成 http://… 或 socks5://…。")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigurationError(
            "环境里设了 SOCKS 代理，但没有安装 socksio", advice='请运行：python -m pip install "httpx[socks]"'
        )
    try:
        proxy = httpx.Proxy(address)
        if proxy.url.host and (proxy.url.port is None or 1 <= proxy.url.port <= 65535):
            return proxy
    except (httpx.InvalidURL, ValueError, UnicodeError):
        pass
    raise ConfigurationError("代理的地址无效", advice="请检查 HTTPS_PROXY、ALL_PROXY 和系统的代理设置。")


def make_client(url: httpx.URL, *, http2: bool) -> httpx.Client:
    """A client whose calls can be ended by `deadline.ending_at`.

    Raises:
        ConfigurationError: proxy, certificates or HTTP/2 cannot be had.
    """
    pool = httpcore.ConnectionPool(**_pool_options(url, http2), network_backend=DeadlineBackend())
    return httpx.Client(transport=DeadlineTransport(pool), trust_env=False)


def make_async_client(url: httpx.URL, *, http2: bool) -> httpx.AsyncClient:
    """As `make_client`; its calls are ended by being cancelled."""
    pool = httpcore.AsyncConnectionPool(**_pool_options(url, http2), network_backend=AsyncBackend())
    return httpx.AsyncClient(transport=AsyncTransport(pool), trust_env=False)


def _pool_options(url: httpx.URL, http2: bool) -> dict[str, Any]:
    """Of httpcore's pools, which are the same for both kinds."""
    if http2 and find_spec("h2") is None:
        raise ConfigurationError("http2=True 需要 h2", advice='请运行：python -m pip install "fintunnel[http2]"')
    try:
        # Loading the certificates takes longer than a call over plain HTTP.
        context = httpx.create_ssl_context() if url.scheme == "https" else None
    except OSError as error:
        raise ConfigurationError(
            f"证书设置无效：{system_reason(error)}", advice="请检查 SSL_CERT_FILE 和 SSL_CERT_DIR。"
        ) from error
    proxy = proxy_for(url)
    return {
        "ssl_context": context,
        "proxy": None if proxy is None else httpcore.Proxy(str(proxy.url), auth=proxy.raw_auth),
        "max_connections": _MAX_CONNECTIONS,
        "max_keepalive_connections": _KEEPALIVE,
        "keepalive_expiry": _KEEPALIVE_SECONDS,
        "http2": http2,
    }

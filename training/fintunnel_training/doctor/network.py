"""Whether the hub answers, and what stands in the way if not: name resolution, a proxy, a firewall, the hub itself."""

from __future__ import annotations

import os
import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

import httpx

from fintunnel_training.doctor.findings import Finding, first_line

__all__ = ["hub"]

_HUB = "https://huggingface.co"
_MIRROR = "https://hf-mirror.com"
_TIMEOUT = 5.0  # seconds
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def hub() -> Finding:
    """One request to `HF_ENDPOINT`, over the proxies that the download would take."""
    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    proxies = _proxies(endpoint)
    via = f"（经代理 {proxies}）" if proxies else ""
    try:
        with httpx.Client(timeout=_TIMEOUT) as client, client.stream("GET", endpoint) as response:
            return _answered(endpoint, via, response)
    except ImportError:  # httpx builds its proxy transports at once, and a SOCKS one needs socksio
        return Finding(
            "failure",
            f"{_named_proxies()} 是 SOCKS 代理，但没有安装 socksio",
            '请运行 python -m pip install "httpx[socks]"，或把代理变量改成代理软件的 HTTP 端口（http://…）。',
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return Finding("failure", f"HF_ENDPOINT 不是网址：{_shown(endpoint)}", f"应写成 {_MIRROR} 这样，或删掉它。")
    except ValueError:  # httpx on a proxy whose scheme it does not know; its message quotes the whole URL
        return Finding(
            "failure",
            f"代理变量的写法不对：{_named_proxies()}",
            "应以 http:// 或 socks5:// 开头，例如 http://127.0.0.1:7890。",
        )
    except httpx.ProxyError as error:
        return Finding(
            "failure",
            f"代理拒绝连接 {_shown(endpoint)}{via}：{first_line(error)}",
            "请检查代理软件的规则、账号和密码。",
        )
    except httpx.TimeoutException:
        return Finding("failure", f"{_shown(endpoint)} {_TIMEOUT:.0f} 秒内没有回应{via}", _other_way(proxies))
    except httpx.TransportError as error:
        return _no_connection(endpoint, proxies, via, error)


def _answered(endpoint: str, via: str, response: httpx.Response) -> Finding:
    found = f"{_shown(endpoint)} 返回 HTTP {response.status_code}{via}"
    if response.next_request is not None and response.next_request.url.host != response.url.host:
        # How campus and hotel networks ask for a login.
        return Finding(
            "failure",
            f"{found}，转向 {response.next_request.url.host}",
            "可能要先登录校园网：请用浏览器打开任意网页登录后再试。",
        )
    if response.status_code < 400:
        return Finding("ok", f"{_shown(endpoint)} 可以访问{via}")
    if response.status_code == 407:
        return Finding("failure", found, "代理要求登录：请在代理变量里写上账号，如 http://用户:密码@主机:端口。")
    if response.status_code == 429:
        return Finding("failure", found, "请求太多被限流：请过几分钟再试，或设置 HF_TOKEN。")
    if response.status_code >= 500:
        return Finding("failure", found, f"对方暂时有故障：请稍后再试，或{_mirror(endpoint)}。")
    return Finding("failure", found, f"被对方或网络拒绝：请换一个网络或代理，或{_mirror(endpoint)}。")


def _no_connection(endpoint: str, proxies: str, via: str, error: httpx.TransportError) -> Finding:
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Finding(
            "failure",
            f"与 {_shown(endpoint)} 的加密连接失败{via}：{first_line(error)}",
            f"请检查系统时间、代理和杀毒软件的 HTTPS 扫描；或{_mirror(endpoint)}。",
        )
    if proxies:
        return Finding(
            "failure",
            f"连不上代理 {proxies}：{first_line(error)}",
            "请先启动代理软件并核对端口；不用代理就删掉这些变量。",
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Finding(
            "failure", f"域名解析失败：{urlsplit(endpoint).hostname}", f"请检查网络连接和 DNS；或{_mirror(endpoint)}。"
        )
    return Finding("failure", f"连不上 {_shown(endpoint)}：{first_line(error)}", _other_way(proxies))


def _other_way(proxies: str) -> str:
    start = "请检查代理" if proxies else "请检查网络；需要代理就设置 HTTPS_PROXY"
    return f"{start}；或{_mirror(os.environ.get('HF_ENDPOINT') or _HUB)}。"


def _mirror(endpoint: str) -> str:
    folder = "用 --base 指定已下载的目录"
    if "HF_ENDPOINT" not in os.environ or endpoint.startswith(_HUB):
        return f"设置环境变量 HF_ENDPOINT={_MIRROR} 使用镜像，或{folder}"
    return f"换一个 HF_ENDPOINT（如 {_MIRROR}）或删掉它，或{folder}"


def _proxies(endpoint: str) -> str:
    """All proxies that are set, if one applies to the endpoint; else empty."""
    parts = urlsplit(endpoint)
    applies = {parts.scheme, "all"} & urllib.request.getproxies().keys()
    return _named_proxies() if applies and not urllib.request.proxy_bypass(parts.hostname or "") else ""


def _named_proxies() -> str:
    """Variables and addresses, without credentials; where there are no variables, Windows' or macOS' settings, which
    httpx takes too."""
    variables = {name: os.environ.get(name.lower()) or os.environ.get(name) for name in _PROXY_VARIABLES}
    named = [f"{name}={_shown(value)}" for name, value in variables.items() if value]
    return "、".join(named) or "、".join(
        f"系统设置的 {_shown(value)}" for scheme, value in urllib.request.getproxies().items() if scheme != "no"
    )


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    return url.rpartition("@")[2] if "@" in url else url


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while (cause := error.__cause__ or error.__context__) is not None and cause not in found:
        found.append(cause)
        error = cause
    return found

"""One POST with a deadline: JSON out, JSON in, every failure as a typed error. Knows no backend."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from fintunnel.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequestError,
    MalformedAnswerError,
    QuotaError,
    RateLimitError,
    RequestTimeout,
    ServerFailure,
    TunnelError,
)
from fintunnel.ngrok_hosts import SKIP_WARNING, is_ngrok

__all__ = ["make_http_client", "post_json"]

_CONNECT_SECONDS = 10.0
_MAX_BYTES = 16 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def make_http_client(url: str) -> httpx.Client:
    """An httpx client for one host. A loopback address never goes through the proxy of the environment."""
    try:
        host = httpx.URL(url).host
        return httpx.Client(trust_env=host not in _LOOPBACK, follow_redirects=False)
    except (httpx.InvalidURL, ValueError, OSError) as error:
        raise ConfigurationError(f"地址、代理或证书设置无效：{error}") from error


def post_json(
    client: httpx.Client, url: str, body: dict[str, Any], *, api_key: str | None, timeout: float, advice: str
) -> dict[str, Any]:
    """POST `body` and return the JSON object that comes back.

    Args:
        timeout: seconds for each phase (connecting, sending, waiting for a byte), and, counted from the start,
            for the body to arrive: bytes that only keep the line alive do not stretch it.
        advice: what to check when nobody answers.

    Raises:
        FinTunnelError: the subclass that says what went wrong.
    """
    deadline = time.monotonic() + timeout
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        host = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"地址无效：{error}") from error
    if is_ngrok(host):
        headers[SKIP_WARNING] = "1"
    limits = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
    try:
        with client.stream("POST", url, json=body, headers=headers, timeout=limits) as response:
            content = _read(response, deadline, timeout)
    except httpx.TimeoutException as error:
        raise RequestTimeout(f"{timeout:g} 秒内没有得到 {host} 的回答。{advice}") from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"地址无效：{error}") from error
    except httpx.LocalProtocolError:
        # Its text shows the header, and the header holds the key.
        raise ConfigurationError("密钥或地址里有不能发送的字符，请重新复制。") from None
    except httpx.UnsupportedProtocol as error:
        raise ConfigurationError(f"地址 {url} 应以 http:// 或 https:// 开头") from error
    except httpx.RequestError as error:
        raise ConnectionFailed(f"连不上 {host}：{error}。{advice}") from error
    if "ngrok-error-code" in response.headers:
        code = response.headers["ngrok-error-code"]
        raise TunnelError(f"隧道地址没有上线，或后面的服务没有响应（{code}）。请确认 fintunnel serve 还在运行。")
    if response.is_success:
        return _json_object(content, host)
    raise _status_error(response, content)


def _read(response: httpx.Response, deadline: float, timeout: float) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if time.monotonic() > deadline:
            raise RequestTimeout(f"{timeout:g} 秒内没有收完回答")
        if len(content) > _MAX_BYTES:
            raise MalformedAnswerError(f"回答超过 {_MAX_BYTES} 字节")
    return bytes(content)


def _json_object(content: bytes, host: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        if content.lstrip()[:1] == b"<":
            raise TunnelError(f"{host} 返回的是网页而不是 JSON，可能是隧道或代理的页面，不是模型的回答。") from error
        raise MalformedAnswerError(f"{host} 的回答不是 JSON") from error
    if not isinstance(parsed, dict):
        raise MalformedAnswerError(f"{host} 的回答不是 JSON 对象")
    return parsed


def _status_error(response: httpx.Response, content: bytes) -> APIError:
    status = response.status_code
    message, code, request_id = f"HTTP {status}", None, response.headers.get("x-request-id")
    try:
        error = json.loads(content)["error"]
        message = str(error["message"])[:500]
        code = error.get("code") and str(error["code"])
        request_id = error.get("request_id") or request_id
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # not our error body, nor OpenAI's: the status says it all
    kinds: dict[int, tuple[type[APIError], str]] = {
        401: (AuthenticationError, "密钥不正确"),
        402: (QuotaError, "余额不足"),
        403: (AuthenticationError, "没有权限"),
        429: (RateLimitError, "请求太频繁，请稍后再试"),
    }
    kind, meaning = kinds.get(
        status,
        (ServerFailure, "服务出错")
        if status >= 500
        else (InvalidRequestError, "请求无效" if status >= 400 else "地址被重定向，请改用最终的地址"),
    )
    suffix = f"（编号 {request_id}）" if request_id else ""
    return kind(f"{meaning}：{message}{suffix}", status=status, code=code, request_id=request_id)

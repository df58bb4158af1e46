"""What a response that is no answer means, as a typed error that says what to do. No network here."""

from __future__ import annotations

import json
import time

import httpx

from fintunnel.errors import (
    APIError,
    AuthenticationError,
    FinTunnelError,
    InvalidRequestError,
    MalformedAnswerError,
    QuotaError,
    RateLimitError,
    ServerFailure,
    TunnelError,
)
from fintunnel.transport.ngrok import ERROR_CODE, trouble
from fintunnel.transport.retry_after import seconds_to_wait
from fintunnel.transport.target import Target
from fintunnel.wire import STATUSES, ErrorCode, ErrorDetail

__all__ = [
    "clean",
    "item_failure",
    "json_object",
    "request_id_of",
    "status_failure",
]

_SHORTEST_SECRET = 8  # characters; a shorter one is no secret, and stands in any text
_KINDS: dict[int, tuple[type[APIError], str]] = {
    401: (AuthenticationError, "密钥不正确"),
    402: (QuotaError, "余额不足"),
    403: (AuthenticationError, "没有权限"),
    429: (RateLimitError, "请求太频繁"),
}


def json_object(response: httpx.Response, content: bytes, target: Target, host: str) -> dict[str, object]:
    """
    Raises:
        TunnelError: a web page.
        MalformedAnswerError: no JSON object.
    """
    number = request_id_of(response, target.secret)
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        if _is_page(response, content):
            raise _page_failure(response, target, host) from None
        raise MalformedAnswerError(
            f"{host} 返回的内容不是 JSON", status=response.status_code, request_id=number
        ) from None
    if not isinstance(parsed, dict):
        raise MalformedAnswerError(f"{host} 返回的内容不是 JSON 对象", status=response.status_code, request_id=number)
    if b"\\u" in content and not _is_sendable(parsed):
        raise MalformedAnswerError(
            f"{host} 返回的文字里有不成对的代理字符", status=response.status_code, request_id=number
        )
    return parsed


def _is_sendable(parsed: object) -> bool:
    """Half a surrogate pair, which JSON can spell, could not be written to a file or sent on."""
    try:
        json.dumps(parsed, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def status_failure(response: httpx.Response, content: bytes, target: Target, host: str) -> FinTunnelError:
    """What an answer with an error status, or of ngrok itself, means."""
    status, headers = response.status_code, response.headers
    wait = seconds_to_wait(headers, time.time())
    if target.tunnelled and ERROR_CODE in headers:
        ngrok_code = clean(headers[ERROR_CODE], target.secret)[:40]
        meaning, advice, passing = trouble(ngrok_code, status)
        return TunnelError(
            f"{meaning}（{ngrok_code}）",
            advice=advice,
            status=status,
            code=ngrok_code,
            retry_after=wait,
            transient=passing,
        )
    if target.tunnelled and status != 401 and _is_page(response, content):
        return _page_failure(response, target, host)
    message, code, request_id = _error_of(content, target.secret)
    if 300 <= status < 400:
        elsewhere = clean(_host_of(headers.get("location", "")), target.secret)
        return InvalidRequestError(
            f"{host} 被重定向{f'到 {elsewhere}' if elsewhere else ''}", status=status, advice="请改用最终的地址。"
        )
    wish = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return _of_status(
        status,
        message or f"HTTP {status}",
        target,
        code=code,
        request_id=request_id or request_id_of(response, target.secret),
        retry_after=wait,
        should_retry=False if status == 402 else wish,
    )


def item_failure(detail: ErrorDetail, target: Target) -> FinTunnelError:
    """An error that came inside an answer: of a batch's item, or of a stream that had begun."""
    return _of_status(
        STATUSES[detail.code],
        clean(detail.message, target.secret),
        target,
        code=str(detail.code),
        request_id=clean(detail.request_id, target.secret)[:100],
        retry_after=None,
        should_retry=None,
    )


def _of_status(
    status: int,
    message: str,
    target: Target,
    *,
    code: str | None,
    request_id: str | None,
    retry_after: float | None,
    should_retry: bool | None,
) -> FinTunnelError:
    other = (ServerFailure, "服务出错") if status >= 500 else (InvalidRequestError, "请求无效")
    kind, meaning = _KINDS.get(status, other)
    return kind(
        f"{meaning}：{message}",
        advice=_advice(status, code, target, retry_after),
        status=status,
        code=code,
        request_id=request_id,
        retry_after=retry_after,
        transient=True if should_retry is None and status in (408, 409) else should_retry,
    )


def _advice(status: int, code: str | None, target: Target, retry_after: float | None) -> str:
    if status in (401, 403):
        return target.advice.key if target.secret else target.advice.no_key
    if status == 402:
        return "请到 platform.deepseek.com 充值，再试一次。"
    if status == 429:
        return f"请在 {retry_after:g} 秒后再试。" if retry_after else "请稍后再试，或减少同时的请求。"
    if status == 404 and target.tunnelled:
        return "请核对 adapter 的名字。" if code == ErrorCode.UNKNOWN_MODEL else "请核对 FINTUNNEL_URL。"
    return "请稍后再试。" if status >= 500 else ""


def _error_of(content: bytes, secret: str) -> tuple[str, str | None, str | None]:
    """Message, code and request id in our error body or OpenAI's; nothing where it is neither."""
    try:
        error = json.loads(content)["error"]
        if isinstance(error, str):
            return clean(error, secret), None, None
        message = clean(str(error["message"]), secret)
        code, number = error.get("code"), error.get("request_id")
        return message, clean(str(code), secret) if code else None, clean(str(number), secret)[:100] if number else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", None, None


def clean(text: str, secret: str) -> str:
    """One line of what a server says, without the key. First without it, then cut: else half of it might be left."""
    return _one_line(text.replace(secret, "***") if len(secret) >= _SHORTEST_SECRET else text)[:500]


def request_id_of(response: httpx.Response, secret: str) -> str | None:
    return clean(response.headers.get("x-request-id", ""), secret)[:100] or None


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _is_page(response: httpx.Response, content: bytes) -> bool:
    return "html" in response.headers.get("content-type", "") or content.lstrip()[:1] == b"<"


def _page_failure(response: httpx.Response, target: Target, host: str) -> TunnelError:
    status = response.status_code
    whose = "可能是隧道或代理的页面，不是模型的回答" if target.tunnelled else "可能被代理或校园网的登录页拦下了"
    return TunnelError(
        f"{host} 返回的是网页而不是 JSON（HTTP {status}），{whose}",
        advice=target.advice.unreachable,
        status=status,
        transient=status == 429 or status >= 500,
    )


def _host_of(location: str) -> str:
    try:
        return httpx.URL(location).host
    except (httpx.InvalidURL, UnicodeError):
        return ""

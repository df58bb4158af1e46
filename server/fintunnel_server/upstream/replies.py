"""Reads what an OpenAI-compatible server sends, trusting none of it. Pure: no network here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fintunnel.transport.retry_after import seconds_to_wait

from fintunnel_server.engine import TokenLogprob
from fintunnel_server.errors import (
    UpstreamAnswerInvalid,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)

__all__ = [
    "FinishReason",
    "Reply",
    "TopToken",
    "beginning",
    "read_reply",
    "status_failure",
    "stream_failure",
]

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class TopToken:
    text: str
    probability: float


@dataclass(frozen=True)
class Reply:
    """A chat completion, or one piece of a streamed one. `top_tokens`: of the first token, the likeliest first;
    `tokens`: all that it tells of. Token counts and `finish_reason` are None where the server did not give them."""

    text: str = ""
    finish_reason: FinishReason | None = None
    top_tokens: list[TopToken] = field(default_factory=list)
    tokens: list[TokenLogprob] = field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def read_reply(body: Mapping[str, Any]) -> Reply:
    """A whole chat completion or an event of a stream.

    Raises:
        UpstreamAnswerInvalid: it has not that shape.
    """
    try:
        usage = body.get("usage") or {}
        prompt_tokens, completion_tokens = (_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        choices = body["choices"]
        if choices == []:  # the event that carries the usage alone
            return Reply(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        choice = choices[0]
        text = (choice.get("message") or choice.get("delta") or {}).get("content") or ""
        reason = choice.get("finish_reason")
        return Reply(
            # Half a surrogate pair could not be sent on.
            text=str(text).encode("utf-8", "ignore").decode(),
            finish_reason=None if reason is None else "length" if reason == "length" else "stop",
            top_tokens=_top_tokens(choice.get("logprobs")),
            tokens=[_token(each) for each in (choice.get("logprobs") or {}).get("content") or []],
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise UpstreamAnswerInvalid("上游模型服务的回答不符合 OpenAI 格式", detail=repr(error)[:200]) from error


def _count(given: object) -> int | None:
    return given if type(given) is int and 0 <= given < 2**31 else None


def _top_tokens(logprobs: Any) -> list[TopToken]:
    """The alternatives to the first token; none where the server gives none."""
    content = (logprobs or {}).get("content") or []
    given = content[0].get("top_logprobs") if content else None
    tokens = [TopToken(str(each["token"]), math.exp(min(float(each["logprob"]), 0.0))) for each in given or []]
    if any(math.isnan(token.probability) for token in tokens):
        raise ValueError("a logprob is not a number")
    return tokens


def _token(given: Mapping[str, Any]) -> TokenLogprob:
    raw, logprob = given.get("bytes"), min(float(given["logprob"]), 0.0)
    if math.isnan(logprob):
        raise ValueError("a logprob is not a number")
    text = str(given["token"]).encode("utf-8", "ignore").decode()
    top = [_token(each) for each in given.get("top_logprobs") or []]
    return TokenLogprob(text, logprob, None if raw is None else bytes(raw), top)


def status_failure(
    status: int, headers: Mapping[str, str], content: bytes, *, now: float, secret: str
) -> UpstreamError:
    """What an answer with an error status means.

    Args:
        now: POSIX seconds, for a date in `Retry-After`.
        secret: what must not stand in `detail`.
    """
    message, _ = _error_of(content, secret)
    return _failure(status, message, seconds_to_wait(headers, now))


def stream_failure(event: Mapping[str, Any], *, secret: str) -> UpstreamError | None:
    """The error that an event of a stream reports; None where it reports none."""
    if not event.get("error") and event.get("object") != "error":
        return None
    message, code = _error_of(json.dumps(event).encode(), secret)
    return _failure(code, message, None)


def beginning(content: bytes, secret: str) -> str:
    """What an answer begins with, for the operator: one line without the key."""
    # First without it, then cut: else half of it might be left.
    return repr(_without(content.decode("utf-8", "replace"), secret)[:100])


def _without(text: str, secret: str) -> str:
    return text.replace(secret, "…") if secret else text


def _failure(status: int, message: str, retry_after: float | None) -> UpstreamError:
    if status in (401, 403):
        message = ""  # it may show a part of the key
    detail = f"HTTP {status} {message}".rstrip()
    if status in (408, 429, 503):
        return UpstreamOverloaded("上游模型服务繁忙，请稍后再试", detail=detail, retry_after=retry_after)
    if status in (502, 504):
        return UpstreamUnreachable("上游模型服务连不上，请稍后再试", detail=detail)
    if status < 500:
        return UpstreamRefused(f"上游模型服务拒绝了请求（HTTP {status}）", status=status, detail=detail)
    return UpstreamError("上游模型服务出错，请稍后再试", detail=detail)


def _error_of(content: bytes, secret: str) -> tuple[str, int]:
    """The message (one line, at most 300 characters) and the status in an error body; 500 where it names none."""
    try:
        body = json.loads(content)
        error = body.get("error") or body
        fields = error if isinstance(error, dict) else {"message": error}
        printable = "".join(c if c.isprintable() else " " for c in _without(str(fields.get("message") or ""), secret))
        code = fields.get("code")
        if isinstance(code, str):
            printable += f" [{code[:50]}]"
        return " ".join(printable.split())[:300], code if type(code) is int and 400 <= code < 600 else 500
    except (ValueError, AttributeError, RecursionError):
        return "", 500

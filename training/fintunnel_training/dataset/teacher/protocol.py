"""What goes to a teacher's chat API, and what its replies mean. Pure: no network here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from fintunnel.prompt import Message

from fintunnel_training.dataset.teacher.cost import Tokens
from fintunnel_training.dataset.teacher.url import is_deepseek
from fintunnel_training.errors import TrainingError

__all__ = [
    "FAILURES_ZH",
    "Answer",
    "Mode",
    "NoAnswer",
    "Response",
    "Teacher",
    "TeacherStopped",
    "read_answer",
    "request_body",
    "simpler",
    "status_error",
]

FAILURES_ZH = {
    "rate_limited": "429 请求太频繁",
    "server": "5xx 服务出错",
    "timeout": "超时",
    "connection": "连接失败",
    "refused": "400 请求被拒绝",
    "not_api": "回答不是 API 的格式",
}

_NO_MONEY_CODES = ("insufficient_quota", "exceeded_current_quota_error")  # OpenAI and Kimi say it with a 429


class TeacherStopped(TrainingError):
    """Asking on makes no sense: the key, the balance, the address, or a server that keeps failing."""


class NoAnswer(Exception):
    """One question got no answer; `reason` is a key of `FAILURES_ZH`."""

    def __init__(self, reason: str, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.wait = wait


@dataclass(frozen=True)
class Teacher:
    """`url`: the whole address (`…/chat/completions`); `rate`: requests a minute; `timeout`: seconds from sending
    to the last byte; `backoff`: seconds before the first retry, doubled each time."""

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    max_tokens: int = 200
    concurrency: int = 4
    rate: float = 60.0
    timeout: float = 60.0
    backoff: float = 1.0


class Answer(NamedTuple):
    """`cut_off`: ended by the token limit. `tokens`: what the question used, empty answers before it included."""

    content: str
    cut_off: bool
    tokens: Tokens


class Mode(NamedTuple):
    """What servers disagree on; the mode that worked is kept for the run."""

    json_mode: bool = True
    limit_field: str = "max_tokens"


class Response(NamedTuple):
    status: int
    retry_after: str
    content: bytes


def request_body(teacher: Teacher, messages: Sequence[Message], mode: Mode) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": teacher.model,
        "messages": list(messages),
        mode.limit_field: teacher.max_tokens,
        "stream": False,
    }
    if is_deepseek(teacher.url):
        body["thinking"] = {"type": "disabled"}  # on by default there, and paid for
    if mode.json_mode:
        body["response_format"] = {"type": "json_object"}
    return body


def status_error(teacher: Teacher, response: Response) -> NoAnswer | TeacherStopped:
    """What an answer with an error status means: for this question (NoAnswer) or for all (TeacherStopped)."""
    status, host = response.status, httpx.URL(teacher.url).host
    message, code = _error_of(response.content)
    if teacher.api_key:
        message = message.replace(teacher.api_key, "…")
    told = f"：{message}" if message else ""
    if status in (401, 403):  # the server's text may show the key: not told
        return TeacherStopped(f"教师 {host} 不接受密钥（HTTP {status}）。请检查密钥的环境变量，再运行同一条命令")
    if status == 402 or code in _NO_MONEY_CODES:
        return TeacherStopped(f"教师 {host} 余额不足（HTTP {status}）。请充值，再运行同一条命令")
    if status in (408, 409, 429) or status >= 500:
        reason = "rate_limited" if status == 429 else "server"
        return NoAnswer(reason, f"HTTP {status}{told}", _seconds(response.retry_after))
    if status in (400, 413, 422):
        return NoAnswer("refused", f"HTTP {status}{told}")
    return TeacherStopped(
        f"教师 {host} 的地址或模型名不对（HTTP {status}{told}）。请检查 --teacher-url 和 --teacher-model"
    )


def simpler(mode: Mode, response: Response) -> Mode | None:
    """The next mode to try after a refused request; None: there is none, the question itself is refused."""
    if mode.limit_field == "max_tokens" and b"max_completion_tokens" in response.content:
        return mode._replace(limit_field="max_completion_tokens")  # OpenAI's newer models name it in the refusal
    return mode._replace(json_mode=False) if mode.json_mode else None


def read_answer(content: bytes, expected: Tokens) -> Answer:
    """Keep-alive blank lines before the JSON do no harm. Usage that is not told counts as what was expected."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text = choice["message"].get("content")
        usage = body.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NoAnswer("not_api", "回答里没有 choices[0].message") from error
    prompt, completion = (
        count if type(count) is int and 0 <= count < 2**31 else guess
        for count, guess in zip(counts, expected, strict=True)
    )
    return Answer(
        text if isinstance(text, str) else "", choice.get("finish_reason") == "length", Tokens(prompt, completion)
    )


def _error_of(content: bytes) -> tuple[str, str]:
    """The message (one line, at most 200 characters) and the code of an error body in OpenAI's shape."""
    try:
        error = json.loads(content)["error"]
        message = "".join(c if c.isprintable() else " " for c in str(error["message"]))
        message = " ".join(message.split())[:200]
        return message, str(error.get("code") or error.get("type") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", ""


def _seconds(retry_after: str) -> float | None:
    try:
        seconds = float(retry_after)
    except ValueError:
        return None  # a date, or nothing: the usual backoff
    return seconds if seconds >= 0 else None

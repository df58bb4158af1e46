"""What the hosted DeepSeek API is asked, and what its answers become. Pure: no network here.

`analysis_from_text` validates an answer that a model wrote as JSON by itself; the server uses it too, for upstream
servers that cannot score.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import MalformedAnswerError
from fintunnel.prompt import PROMPT_VERSION, Message, render_prompt
from fintunnel.wire import (
    SIGNALS,
    Direction,
    Impact,
    ModelInfo,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
    Signals,
    Timing,
    Usage,
)

__all__ = ["STRUCTURE_TOKENS", "analysis_from", "analysis_from_text", "analyze_body", "chat_body", "chat_text"]

STRUCTURE_TOKENS = 96  # the JSON around the text of an answer that a model writes as a whole


class _NewsReply(BaseModel):
    model_config = ConfigDict(extra="ignore")

    impact: Impact
    direction: Direction
    signals: Signals | None = None
    rationale: str | None = None


class _ReportReply(BaseModel):
    model_config = ConfigDict(extra="ignore")

    citations: list[int]
    answer: str | None = None


def chat_body(model: str, messages: list[Message], max_tokens: int, temperature: float) -> dict[str, Any]:
    return {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stream": False,
        # Thinking is on by default there, costs tokens, and makes the API ignore the temperature.
        "thinking": {"type": "disabled"},
    }


def analyze_body(model: str, request: NewsRequest | ReportRequest) -> dict[str, Any]:
    messages = render_prompt(request).messages()
    body = chat_body(model, messages, request.max_tokens + STRUCTURE_TOKENS, 0.0)
    return body | {"response_format": {"type": "json_object"}}


def chat_text(answer: dict[str, Any]) -> str:
    """The text of a chat completion, from the hosted API or from FinTunnel's own."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise MalformedAnswerError("回答里没有 choices[0].message.content") from error
    if not isinstance(text, str) or not text.strip():
        raise MalformedAnswerError("模型返回了空内容，请重试")
    return text.strip()


def analysis_from(
    answer: dict[str, Any], request: NewsRequest | ReportRequest, model: str, started: float
) -> NewsAnalysis | ReportAnswer:
    """The analysis in a chat completion of the hosted API.

    `started`: `time.monotonic()` before the request.

    Raises:
        MalformedAnswerError: no JSON, or not what was asked for.
    """
    text = chat_text(answer)
    seconds = time.monotonic() - started
    common: dict[str, Any] = {
        "id": f"ana-{uuid.uuid4().hex}",
        "model": ModelInfo(backend="deepseek", base=model, adapter=None, prompt_version=PROMPT_VERSION),
        "usage": _usage(answer.get("usage")),
        "timing_ms": Timing(queue=0.0, model=round(seconds * 1000, 1), total=round(seconds * 1000, 1)),
    }
    return analysis_from_text(text, request, common)


def analysis_from_text(
    text: str, request: NewsRequest | ReportRequest, common: Mapping[str, Any]
) -> NewsAnalysis | ReportAnswer:
    """Validate the JSON that a model wrote, alone or within prose or a code fence. Its probabilities are null:
    numbers that a model writes are not probabilities.

    Args:
        common: the answer's other fields (`id`, `model`, `usage`, `timing_ms` …).

    Raises:
        MalformedAnswerError: no JSON, or not what was asked for.
    """
    try:
        parsed = _json_in(text)
        if isinstance(request, NewsRequest):
            return _news(_NewsReply.model_validate(parsed), request, common)
        return _report(_ReportReply.model_validate(parsed), request, common)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedAnswerError(f"模型的 JSON 不符合约定：{where} {rule_in_chinese(first)}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError("模型没有按要求输出 JSON") from error


def _json_in(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        parsed, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        return parsed


def _usage(counts: object) -> Usage:
    """The API's token counts; what it does not count is 0."""
    given = counts if isinstance(counts, dict) else {}
    values = {name: given.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return Usage(**{name: value if isinstance(value, int) and value >= 0 else 0 for name, value in values.items()})


def _news(reply: _NewsReply, request: NewsRequest, common: Mapping[str, Any]) -> NewsAnalysis:
    if request.explain and reply.rationale is None:
        raise MalformedAnswerError("模型的 JSON 不符合约定：缺少 rationale")
    signals = None
    if request.context is not None and reply.signals is not None:
        signals = [signal for signal in SIGNALS if getattr(reply.signals, signal)]
    return NewsAnalysis(
        **common,
        impact=reply.impact,
        impact_probs=None,
        direction=reply.direction,
        direction_probs=None,
        signals=signals,
        signal_probs=None,
        rationale=reply.rationale if request.explain else None,
    )


def _report(reply: _ReportReply, request: ReportRequest, common: Mapping[str, Any]) -> ReportAnswer:
    if request.explain and reply.answer is None:
        raise MalformedAnswerError("模型的 JSON 不符合约定：缺少 answer")
    citations = sorted(set(reply.citations))
    if any(not 0 <= index < len(request.passages) for index in citations):
        raise MalformedAnswerError("模型引用了不存在的资料编号")
    return ReportAnswer(**common, citations=citations, answer=reply.answer if request.explain else None)

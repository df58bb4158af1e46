"""Answers that a model wrote as JSON by itself: the hosted API's, and upstream servers' that cannot score. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.errors import MalformedAnswerError
from fintunnel.json_string import JsonStringReader
from fintunnel.wire import (
    SIGNALS,
    Direction,
    Impact,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
    Signals,
)

__all__ = ["STRUCTURE_TOKENS", "analysis_from_text"]

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


def analysis_from_text(
    text: str, request: NewsRequest | ReportRequest, common: Mapping[str, Any]
) -> NewsAnalysis | ReportAnswer:
    """Validate the JSON that a model wrote, alone or within prose or a code fence. Its text comes on one line. Its
    probabilities are null: numbers that a model writes are not probabilities.

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
        rationale=_on_one_line(reply.rationale or "") if request.explain else None,
    )


def _report(reply: _ReportReply, request: ReportRequest, common: Mapping[str, Any]) -> ReportAnswer:
    if request.explain and reply.answer is None:
        raise MalformedAnswerError("模型的 JSON 不符合约定：缺少 answer")
    citations = sorted(set(reply.citations))
    if any(not 0 <= index < len(request.passages) for index in citations):
        raise MalformedAnswerError("模型引用了不存在的资料编号")
    answer = _on_one_line(reply.answer or "") if request.explain else None
    return ReportAnswer(**common, citations=citations, answer=answer)


def _on_one_line(text: str) -> str:
    return JsonStringReader().feed(json.dumps(text)[1:-1])

"""Answers of a model that can only write: the whole JSON is asked for, validated here, and has no probabilities."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from fintunnel.errors import MalformedAnswerError
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS, NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest
from fintunnel.written_answer import STRUCTURE_TOKENS, analysis_from_text

from fintunnel_server.engine import AdapterInfo, Conversation
from fintunnel_server.errors import UpstreamAnswerInvalid

__all__ = ["answer_schema", "generated_answer"]

_TIMES_ASKED = 2


async def generated_answer(
    request: NewsRequest | ReportRequest,
    conversation: Conversation,
    *,
    about: AdapterInfo,
    common: Callable[[], Mapping[str, Any]],
) -> AsyncGenerator[NewsAnalysis | ReportAnswer | str, None]:
    """Ask for the whole answer; once more where it is not valid.

    Gives what `analyze` gives, in its order: the analysis without its text, the text as one piece, the whole.

    Args:
        about: the adapter that answers.
        common: the fields that both kinds of answer carry, as they are when it is called.

    Raises:
        UpstreamAnswerInvalid: the second answer was not valid either.
    """
    whole = await _ask(request, conversation, about, common)
    field = "rationale" if isinstance(whole, NewsAnalysis) else "answer"
    text = getattr(whole, field)
    yield whole.model_copy(update={field: None})
    if request.explain:
        if text:
            yield text
        yield whole


async def _ask(
    request: NewsRequest | ReportRequest,
    conversation: Conversation,
    about: AdapterInfo,
    common: Callable[[], Mapping[str, Any]],
) -> NewsAnalysis | ReportAnswer:
    schema = answer_schema(request)
    problem = ""
    for _ in range(_TIMES_ASKED):
        pieces = conversation.write_json(schema, max_tokens=request.max_tokens + STRUCTURE_TOKENS)
        text = "".join([piece async for piece in pieces])
        # Nothing was scored, so there is nothing to calibrate.
        fields = {**common(), "calibrated": False}
        if isinstance(request, NewsRequest):
            fields |= {"horizon_min": about.horizon_min, "edges": about.edges}
        try:
            return analysis_from_text(text, request, fields)
        except MalformedAnswerError as error:
            problem = str(error)
    raise UpstreamAnswerInvalid(f"{problem}（问了 {_TIMES_ASKED} 次）", detail=repr(text[:200]))


def answer_schema(request: NewsRequest | ReportRequest) -> dict[str, object]:
    """The JSON schema of a request's answer, in the order of the training's answers; every property is required."""
    properties: dict[str, object]
    if isinstance(request, NewsRequest):
        signals = _object({signal: {"type": "boolean"} for signal in SIGNALS})
        properties = {
            "impact": {"type": "string", "enum": list(IMPACTS)},
            "direction": {"type": "string", "enum": list(DIRECTIONS)},
            "signals": signals if request.context is not None else {"type": "null"},
        }
        text = "rationale"
    else:
        indices = {"type": "integer", "enum": list(range(len(request.passages)))}
        properties = {"citations": {"type": "array", "items": indices}}
        text = "answer"
    return _object({**properties, **({text: {"type": "string"}} if request.explain else {})})


def _object(properties: Mapping[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }

"""What an upstream offers beyond plain chat completions, and the requests that use it. Pure: no network here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fintunnel.prompt import Message

__all__ = [
    "CONSTRAINTS",
    "CONTINUATIONS",
    "STREAM_OPTIONS",
    "Abilities",
    "Constraint",
    "JsonFormat",
    "chat_body",
    "json_format_fields",
]

JsonFormat = Literal["json_schema", "json_object", "plain"]
Constraint = Literal["structured_outputs", "guided_choice", "regex", "grammar"]

# How a server is told to go on with a trailing assistant message: vLLM's and SGLang's fields, or nothing (llama.cpp).
CONTINUATIONS: tuple[Mapping[str, object], ...] = (
    {"continue_final_message": True, "add_generation_prompt": False},
    {},
)
# How an answer is confined to a list of texts: vLLM, vLLM before 0.11, SGLang, llama.cpp.
CONSTRAINTS: Mapping[Constraint, Callable[[Sequence[str]], dict[str, object]]] = {
    "structured_outputs": lambda texts: {"structured_outputs": {"choice": list(texts)}},
    "guided_choice": lambda texts: {"guided_choice": list(texts)},
    "regex": lambda texts: {"regex": "(" + "|".join(map(re.escape, texts)) + ")"},
    "grammar": lambda texts: {"grammar": "root ::= " + " | ".join(json.dumps(text) for text in texts)},
}
# What a stream is asked to count; vLLM and SGLang count in every event, so that one that is cut short is counted too.
STREAM_OPTIONS: tuple[Mapping[str, object], ...] = (
    {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    {"stream_options": {"include_usage": True}},
    {},
)


@dataclass(frozen=True)
class Abilities:
    """Without anything, an upstream answers chat completions as a whole.

    `continuation`: the fields with which it goes on with the beginning of an answer, None where it does not;
    `top_logprobs`: how many likeliest tokens it tells, 0 for none; `constraint`: how it chooses among given texts;
    `stream_options`: the fields of a streamed request, None where it does not stream; `json_format`: how it is asked
    for JSON that is checked here; `keeps_schema`: its answers satisfy the schema of a `response_format`.
    """

    continuation: Mapping[str, object] | None = None
    top_logprobs: int = 0
    constraint: Constraint | None = None
    stream_options: Mapping[str, object] | None = None
    json_format: JsonFormat = "plain"
    keeps_schema: bool = False

    @property
    def continues_answers(self) -> bool:
        """Whether answers can be scored field by field, with probabilities or at least by a constrained choice."""
        return self.continuation is not None and (self.top_logprobs > 0 or self.constraint is not None)


def chat_body(
    model: str,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    more: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    if seed is not None:
        body["seed"] = seed
    return body | dict(more or {})


def json_format_fields(format_: JsonFormat, schema: Mapping[str, object]) -> dict[str, object]:
    """The fields that ask for JSON."""
    if format_ == "json_schema":
        wanted = {"name": "answer", "schema": dict(schema), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": wanted}}
    return {"response_format": {"type": "json_object"}} if format_ == "json_object" else {}

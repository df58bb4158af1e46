"""Replies that satisfy a JSON schema: llguidance says after each token which tokens may follow.

Schemas come from strangers, so three things are bounded. What may be compiled: no more than `_MAX_BYTES`, nothing
fetched, and no conjunction of keywords, because llguidance intersects the regular expressions of both sides and whether
that is empty takes time exponential in them, which none of its limits stops (19 patterns in an `allOf`: 3 minutes).
What compiling costs, and what a step costs, by llguidance's own limits: some tenths of a millisecond for sane
schemas, about ten for the worst that were found; past them the reply fails, and nobody else's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from fintunnel_server.errors import SchemaRejected

__all__ = ["JsonConstraint", "JsonConstraints"]

_MAX_BYTES = 16_384
_MAX_DEPTH = 64
_COMBINING = {"$ref", "anyOf", "oneOf", "allOf"}
_ANNOTATIONS = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "$comment",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "discriminator",
}
# Their values are no schemas: what stands inside means nothing.
_VALUES = {"const", "enum", "default", "examples"}
_REFUSED = {"patternProperties", "x-guidance"}
# Compact, so that no white space runs away; of several that fit, `oneOf` takes any.
_OPTIONS: Any = {"whitespace_flexible": False, "coerce_one_of": True, "lenient": False}


def _limits() -> LLParserLimits:
    return LLParserLimits(
        max_items_in_row=1000,
        initial_lexer_fuel=100_000,
        step_lexer_fuel=30_000,
        step_max_items=20_000,
        max_lexer_states=20_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


class JsonConstraint:
    """One reply's way through its schema. Belongs to one thread at a time."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def confine(self, logits: Any) -> Any:
        """The logits (vocabulary,) with all that may not follow at minus infinity.

        Raises:
            SchemaRejected: the schema costs too much here.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = torch.from_numpy(np.unpackbits(mask, bitorder="little"))[: len(logits)].bool()
        confined = torch.full_like(logits, float("-inf"))
        confined[: len(allowed)] = torch.where(allowed, logits[: len(allowed)], confined[: len(allowed)])
        return confined

    def accept(self, token: int) -> bool:
        """Go on with a token; whether the JSON is whole with it, so that nothing more can come.

        Raises:
            SchemaRejected: the schema costs too much here.
        """
        self._matcher.consume_token(token)
        self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise SchemaRejected("这个 JSON Schema 太复杂，没有写完。请简化（如减少 pattern、枚举和嵌套）。")


class JsonConstraints:
    """Compiles schemas for one tokenizer, which is read at the first one (about a second). Any thread may call."""

    def __init__(self, tokenizer: Any, end_tokens: frozenset[int]) -> None:
        self._hf_tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._tokenizer: LLTokenizer | None = None
        self._lock = threading.Lock()

    def compile(self, schema: Mapping[str, object]) -> JsonConstraint:
        """
        Raises:
            SchemaRejected: it is invalid, not supported, or too large.
        """
        try:
            text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
        except (ValueError, RecursionError) as error:
            raise SchemaRejected("JSON Schema 不是有效的 JSON。") from error
        if size > _MAX_BYTES:
            raise SchemaRejected(f"JSON Schema 有 {size} 字节，上限是 {_MAX_BYTES}。")
        for node in _schemas(schema):
            _check_node(node)
        try:
            grammar = LLMatcher.grammar_from_json_schema(text, overrides=_OPTIONS)
        except ValueError as error:
            raise SchemaRejected(f"JSON Schema 无效：{_one_line(error)}") from error
        matcher = LLMatcher(self._read_tokenizer(), grammar, log_level=0, limits=_limits())
        if matcher.is_error():
            raise SchemaRejected(f"不支持这个 JSON Schema：{_one_line(matcher.get_error())}")
        return JsonConstraint(matcher)

    def _read_tokenizer(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                try:
                    self._tokenizer = from_tokenizer(self._hf_tokenizer, eos_token=sorted(self._end_tokens))
                except ValueError as error:
                    raise SchemaRejected("这个基座的分词器不支持按 JSON Schema 生成。") from error
            return self._tokenizer


def _schemas(node: object, depth: int = 0) -> Iterator[Mapping[str, object]]:
    """Every object in a schema that may itself be a schema."""
    if depth > _MAX_DEPTH:
        raise SchemaRejected(f"JSON Schema 嵌套超过 {_MAX_DEPTH} 层。")
    if isinstance(node, Mapping):
        yield node
        for name, below in node.items():
            if name not in _VALUES or isinstance(below, Mapping):  # a property may be called `default` too
                yield from _schemas(below, depth + 1)
    elif isinstance(node, list):
        for below in node:
            yield from _schemas(below, depth + 1)


def _check_node(node: Mapping[str, object]) -> None:
    # A mapping of properties may have these names too: there they map to schemas.
    keywords = {name for name, value in node.items() if not _is_property(name, value)}
    refused = keywords & _REFUSED
    if refused:
        raise SchemaRejected(f"不支持 JSON Schema 的 {sorted(refused)[0]}。")
    reference = node.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise SchemaRejected("JSON Schema 的 $ref 只能指向自身（以 # 开头），不会去别处取。")
    combining = keywords & _COMBINING
    several = node.get("allOf")
    if (
        combining
        and (keywords - _ANNOTATIONS - combining or len(combining) > 1)
        or (isinstance(several, list) and len(several) > 1)
    ):
        raise SchemaRejected("JSON Schema 的 $ref、anyOf、oneOf、allOf 不能与别的约束合用（allOf 只能有一项）。")


def _is_property(name: str, value: object) -> bool:
    if name == "$ref":
        return not isinstance(value, str)
    return name in {"anyOf", "oneOf", "allOf"} and not isinstance(value, list)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]

"""Schemas of strangers: kept to where they are sane, refused or cut short in time where they are not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch
from fintunnel_server.errors import SchemaRejected
from fintunnel_server.inference.json_constraint import JsonConstraints
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from transformers import PreTrainedTokenizerFast

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token; 256 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.fixture(scope="module")
def constraints(tokenizer: PreTrainedTokenizerFast) -> JsonConstraints:
    return JsonConstraints(tokenizer, frozenset({256}))


def write(
    constraints: JsonConstraints, tokenizer: Any, schema: Schema, seed: int, most: int = 400
) -> tuple[str, float]:
    """A random text that the schema allows, and the longest step in seconds."""
    constraint = constraints.compile(schema)
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = []
    longest = 0.0
    while len(tokens) < most:
        began = time.monotonic()
        weights = torch.softmax(constraint.confine(torch.zeros(300)), dim=0)
        longest = max(longest, time.monotonic() - began)
        token = int(torch.multinomial(weights, 1, generator=generator))
        if token == 256:
            break
        tokens.append(token)
        if constraint.accept(token):
            break
    return tokenizer.decode(tokens), longest


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_satisfies_the_schema(
    constraints: JsonConstraints, tokenizer: PreTrainedTokenizerFast, seed: int
) -> None:
    import jsonschema

    schema: Schema = {
        "$defs": {"Side": {"enum": ["利好", "利空"], "title": "Side"}, "Two": {"$ref": "#/$defs/Side"}},
        "type": "object",
        "title": "T",
        "properties": {
            "side": {"$ref": "#/$defs/Two", "description": "方向"},
            "size": {"type": "integer", "minimum": 1, "maximum": 30},
            "note": {"anyOf": [{"type": "string", "maxLength": 4}, {"type": "null"}], "default": None},
            "code": {"type": "string", "pattern": "^[A-Z]{2,6}$"},
            "which": {"oneOf": [{"const": 1}, {"const": "一"}], "discriminator": {"propertyName": "x"}},
            "day": {"type": "string", "format": "date", "examples": ["2025-08-12"]},
        },
        "required": ["side", "size", "note", "code", "which", "day"],
        "additionalProperties": False,
    }
    text, _ = write(constraints, tokenizer, schema, seed)
    given = json.loads(text)
    jsonschema.validate(given, schema)
    assert list(given) == list(schema["properties"]) and " " not in text.replace(str(given["note"]), "")


EVIL_PATTERNS = [{"type": "string", "pattern": f".*{i}.{{{i}}}"} for i in range(1, 20)]
NESTED: Schema = {"type": "integer"}
for _ in range(100):
    NESTED = {"type": "array", "items": NESTED}


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": EVIL_PATTERNS},  # 3 minutes in llguidance
        {"allOf": [{"allOf": EVIL_PATTERNS[:2]}]},
        {"$ref": "#/$defs/a", "pattern": "x", "$defs": {"a": {"type": "string", "pattern": "y"}}},
        {"anyOf": [{"type": "string"}], "pattern": "x"},
        {"anyOf": [{"type": "string"}], "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
        {"type": "object", "x-guidance": {"whitespace_flexible": True}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/schema.json"}}},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/$defs/none"},
        {"type": "poem"},
        {"not": {"type": "string"}},
        {"type": "string", "pattern": "("},
        {"enum": ["x" * 20_000]},
        {"enum": ["\ud800"]},
        NESTED,
    ],
)
def test_what_is_unsupported_or_too_much_is_refused_at_once(constraints: JsonConstraints, schema: Schema) -> None:
    began = time.monotonic()
    with pytest.raises(SchemaRejected):
        constraints.compile(schema)
    assert time.monotonic() - began < 2


def test_no_address_is_fetched(constraints: JsonConstraints) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for schema in ({"$ref": address}, {"$id": address, "type": "object"}, {"$schema": address, "type": "object"}):
            try:
                constraints.compile(schema)
            except SchemaRejected:
                continue
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "(.*a.{20}b.*){3}"},
        {"type": "string", "pattern": "[\\w]{1,2000}", "minLength": 30, "maxLength": 90},
        {"type": "string", "pattern": "(?:(?:a{0,50}){0,50}){0,50}", "minLength": 30},
        {"enum": ["x" * 16_000]},
        {"enum": [f"{i}" * 5 for i in range(1000)]},
        {"anyOf": [{"type": "object", "properties": {f"p{i}": {"type": "string"}}} for i in range(200)]},
        {"anyOf": [{"type": "string", "pattern": f".*a.{{{i}}}b"} for i in range(200)]},
        {"type": "number", "multipleOf": 0.37, "minimum": -12345.678, "maximum": 987654321.123},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(400)}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 40 + [{"type": "string"}]}}},
    ],
)
def test_a_costly_schema_holds_nobody_up(
    constraints: JsonConstraints, tokenizer: PreTrainedTokenizerFast, schema: Schema
) -> None:
    """Either it ends in time, or it fails in time: no step of it takes as long as a pass of a large model."""
    began = time.monotonic()
    try:
        _, longest = write(constraints, tokenizer, schema, seed=0, most=60)
    except SchemaRejected:
        longest = 0.0
    assert longest < 0.3 and time.monotonic() - began < 8  # generous: the machine may be busy

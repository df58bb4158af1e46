"""An engine that answers at once, for tests of what stands around a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fintunnel.json_string import JsonStringReader
from fintunnel.prompt import Message
from fintunnel.wire import Edges
from fintunnel_server.engine import (
    AdapterInfo,
    EngineInfo,
    Field,
    Occupancy,
    Piece,
    Sampling,
    Scores,
    TokenLogprob,
    Work,
)
from fintunnel_training.calibration.calibration_file import Calibration


@dataclass
class InstantEngine:
    """Weighs a choice by `weights` (default 1), or after some answers by `weights_after`, and writes `text`, or `json`
    where a schema is given, a character a token, each after `delay` seconds; over and over up to the bound where it is
    `endless`. Keeps what it was asked in `calls` (unless it `remembers` nothing), the last sampling in
    `samplings`, and in `open_now` how many conversations are under way."""

    weights: dict[str, float] = field(default_factory=dict)
    weights_after: dict[str, dict[str, float]] = field(default_factory=dict)
    text: str = "金价短线或有波动。"
    json: str = '{"a":1}'
    endless: bool = False
    delay: float = 0.0
    context_tokens: int = 1024
    remembers: bool = True
    calls: list[tuple[str, str | None]] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    failure: Exception | None = None
    unreachable: Exception | None = None
    edges: Edges | None = None
    calibration: Calibration | None = None
    probabilities: bool = True
    open_now: int = 0
    closed: bool = False

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            base="instant",
            adapters={"tuned": AdapterInfo(edges=self.edges, calibration=self.calibration)},
            default_adapter="tuned",
            context_tokens=self.context_tokens,
        )

    def remember(self, prefix: str, adapter: str | None) -> None:
        if self.remembers:
            self.calls.append((prefix, adapter))

    def count_tokens(self, messages: list[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[InstantConversation]:
        del answer_tokens, shared
        self.open_now += 1
        try:
            yield InstantConversation(self, adapter, Work(0.001, 0.002, self.count_tokens(messages)))
        finally:
            self.open_now -= 1

    def occupancy(self) -> Occupancy:
        return Occupancy(running=self.open_now)

    async def check(self) -> None:
        if self.unreachable is not None:
            raise self.unreachable

    async def close(self) -> None:
        self.closed = True


@dataclass
class InstantConversation:
    engine: InstantEngine
    adapter: str | None
    work: Work

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        return [self._score(field) for field in fields]

    def _score(self, field: Field) -> Scores:
        if self.engine.failure is not None:
            raise self.engine.failure
        self.engine.remember(field.prefix, self.adapter)
        given = self.engine.weights_after.get(field.prefix, self.engine.weights)
        weights = {label: given.get(label, 1.0) for label in field.choices}
        total = sum(weights.values())
        probabilities = {label: weight / total for label, weight in weights.items()}
        choice = max(probabilities, key=probabilities.__getitem__)
        return Scores(choice, probabilities if self.engine.probabilities else None)

    async def write(self, prefix: str, *, max_tokens: int, in_json_string: bool = False) -> AsyncIterator[str]:
        if self.engine.failure is not None:
            raise self.engine.failure
        self.engine.remember(prefix, self.adapter)
        reader = JsonStringReader()
        async for character in self._characters(self.engine.text, max_tokens):
            piece = reader.feed(character) if in_json_string else character
            if piece:
                yield piece
            if reader.closed:
                self.work.finish_reason = "stop"
                break

    async def reply(self, *, max_tokens: int, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        if self.engine.failure is not None:
            raise self.engine.failure
        self.engine.remember("", self.adapter)
        self.engine.samplings[:] = [sampling]
        text = self.engine.text if sampling.json_schema is None else self.engine.json
        async for character in self._characters(text, max_tokens):
            yield Piece(
                character, () if sampling.top_logprobs is None else [_logprob(character, sampling.top_logprobs)]
            )
            if self.engine.failure is not None:
                raise self.engine.failure

    async def _characters(self, text: str, max_tokens: int) -> AsyncIterator[str]:
        self.work.finish_reason = "stop"
        for number in range(max_tokens):
            if number >= len(text) and not self.engine.endless:
                return
            if self.engine.delay:
                await asyncio.sleep(self.engine.delay)
            self.work.completion_tokens += 1
            yield text[number % len(text)]
        if self.engine.endless or len(text) > max_tokens:
            self.work.finish_reason = "length"

    def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        raise NotImplementedError


def _logprob(character: str, others: int) -> TokenLogprob:
    top = [TokenLogprob(text, -0.5 - number, text.encode()) for number, text in enumerate([character, "甲", "乙"])]
    return TokenLogprob(character, -0.5, character.encode(), top[:others])

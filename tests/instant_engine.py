"""An engine that answers at once, for tests of what stands around a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fintunnel.prompt import Message
from fintunnel.wire import Edges
from fintunnel_server.engine import AdapterInfo, EngineInfo, Field, Occupancy, Scores, Work
from fintunnel_server.json_string import JsonStringReader
from fintunnel_training.calibration.calibration_file import Calibration


@dataclass
class InstantEngine:
    """Weighs a choice by `weights` (default 1), or after some answers by `weights_after`, and writes `text` inside a
    JSON string, after `delay` seconds for each character; keeps what it was asked in `calls`, and in `open_now` how
    many conversations are under way."""

    weights: dict[str, float] = field(default_factory=dict)
    weights_after: dict[str, dict[str, float]] = field(default_factory=dict)
    text: str = "金价短线或有波动。"
    delay: float = 0.0
    calls: list[tuple[str, str | None]] = field(default_factory=list)
    failure: Exception | None = None
    unreachable: Exception | None = None
    edges: Edges | None = None
    calibration: Calibration | None = None
    probabilities: bool = True
    context_tokens: int = 1024
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
        self.engine.calls.append((field.prefix, self.adapter))
        given = self.engine.weights_after.get(field.prefix, self.engine.weights)
        weights = {label: given.get(label, 1.0) for label in field.choices}
        total = sum(weights.values())
        probabilities = {label: weight / total for label, weight in weights.items()}
        choice = max(probabilities, key=probabilities.__getitem__)
        return Scores(choice, probabilities if self.engine.probabilities else None)

    async def write(
        self,
        prefix: str,
        *,
        max_tokens: int,
        in_json_string: bool = False,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncIterator[str]:
        del max_tokens, temperature, seed
        if self.engine.failure is not None:
            raise self.engine.failure
        self.engine.calls.append((prefix, self.adapter))
        reader = JsonStringReader()
        for character in self.engine.text:
            if self.engine.delay:
                await asyncio.sleep(self.engine.delay)
            piece = reader.feed(character) if in_json_string else character
            self.work.completion_tokens += 1
            if piece:
                yield piece
            if reader.closed:
                break

    def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        raise NotImplementedError

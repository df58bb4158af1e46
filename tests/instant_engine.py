"""An engine that answers at once, for tests of what stands around a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fintunnel.prompt import PROMPT_VERSION, Message
from fintunnel_server.engine import EngineInfo, Generation, Scores, Work

_WORK = Work(queue_seconds=0.001, model_seconds=0.002, prompt_tokens=10, completion_tokens=0)


@dataclass
class InstantEngine:
    """Weighs a choice by `weights` (default 1), or after some answers by `weights_after`, and writes `text`;
    keeps what it was asked in `calls`."""

    weights: dict[str, float] = field(default_factory=dict)
    weights_after: dict[str, dict[str, float]] = field(default_factory=dict)
    text: str = "金价短线或有波动。"
    calls: list[tuple[str, str | None]] = field(default_factory=list)
    failure: Exception | None = None
    closed: bool = False

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            base="instant",
            adapters=("tuned",),
            default_adapter="tuned",
            prompt_version=PROMPT_VERSION,
            edges=None,
            context_tokens=1024,
        )

    def count_tokens(self, messages: list[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    async def score(
        self, messages: list[Message], prefix: str, choices: Mapping[str, str], *, adapter: str | None
    ) -> Scores:
        del messages
        if self.failure is not None:
            raise self.failure
        self.calls.append((prefix, adapter))
        given = self.weights_after.get(prefix, self.weights)
        weights = {label: given.get(label, 1.0) for label in choices}
        total = sum(weights.values())
        return Scores({label: weight / total for label, weight in weights.items()}, _WORK)

    async def generate(
        self,
        messages: list[Message],
        *,
        adapter: str | None,
        prefix: str = "",
        max_tokens: int,
        stop: str | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Generation:
        del messages, max_tokens, stop, temperature, seed
        if self.failure is not None:
            raise self.failure
        self.calls.append((prefix, adapter))
        return Generation(self.text, "stop", Work(0.001, 0.002, 10, len(self.text)))

    def close(self) -> None:
        self.closed = True

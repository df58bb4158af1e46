"""What the routes ask of a model: score the allowed answers, generate text. The protocol, no implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from fintunnel.prompt import Message
from fintunnel.wire import Edges

__all__ = ["Engine", "EngineInfo", "Generation", "Scores", "Work"]


@dataclass(frozen=True)
class EngineInfo:
    """`default_adapter` is None where only the base is served; `context_tokens` holds prompt and answer."""

    base: str
    adapters: tuple[str, ...]
    default_adapter: str | None
    prompt_version: int
    edges: Edges | None
    context_tokens: int


@dataclass(frozen=True)
class Work:
    """Seconds spent waiting for the model and in it, and the tokens that one call put in and got out."""

    queue_seconds: float
    model_seconds: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Scores:
    """`probabilities` of the labels given, adding up to 1."""

    probabilities: dict[str, float]
    work: Work


@dataclass(frozen=True)
class Generation:
    text: str
    finish_reason: Literal["stop", "length"]
    work: Work


class Engine(Protocol):
    """`adapter` is one of `info.adapters`, or None for the bare base."""

    @property
    def info(self) -> EngineInfo: ...

    def count_tokens(self, messages: list[Message]) -> int:
        """Tokens of the prompt, chat template included.

        Raises:
            PromptRejectedError: the template does not allow such a conversation.
        """

    async def score(
        self, messages: list[Message], prefix: str, choices: Mapping[str, str], *, adapter: str | None
    ) -> Scores:
        """Probabilities of the choices as continuations of an answer that begins with `prefix`.

        `choices` maps labels to texts, each with the fixed text that follows it, so that it is tokenised as in
        training. They are scored over the trie of their tokens and renormalised at each branch, so that
        a choice of several tokens is not punished.
        """

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
        """Continue an answer that begins with `prefix`, greedily where temperature is 0, until the end token,
        a token with the character `stop` in it (the text before it is returned), or `max_tokens`."""

    def close(self) -> None: ...

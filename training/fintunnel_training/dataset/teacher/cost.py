"""Tokens and money: the estimate before anything is sent, and the budget while it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fintunnel.prompt import Message

__all__ = ["Budget", "Prices", "Tokens", "prompt_tokens_at_most"]

_TOKENS_A_MESSAGE = 8  # role and separators of a chat template


class Tokens(NamedTuple):
    prompt: int = 0
    completion: int = 0

    def plus(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)


@dataclass(frozen=True)
class Prices:
    """Per million tokens, in whatever currency the budget is in."""

    prompt: float
    completion: float

    def cost(self, tokens: Tokens) -> float:
        return (tokens.prompt * self.prompt + tokens.completion * self.completion) / 1e6


def prompt_tokens_at_most(messages: Sequence[Message]) -> int:
    """An estimate on the high side, since the teacher's tokenizer is unknown: a token for each character outside
    ASCII (vendors give 0.6 to 0.8 for Chinese), a token for three ASCII characters."""
    total = 0
    for message in messages:
        ascii_characters = sum(character.isascii() for character in message["content"])
        total += len(message["content"]) - ascii_characters + math.ceil(ascii_characters / 3) + _TOKENS_A_MESSAGE
    return total


class Budget:
    """Counts what was used. With a `limit` and `prices`, what was used and what is under way together stay below
    the limit: every request is reserved before it is sent, and settled by what the server says it used."""

    def __init__(self, limit: float | None = None, prices: Prices | None = None) -> None:
        self._limit = limit
        self._prices = prices
        self._reserved = Tokens()
        self.used = Tokens()

    def reserve(self, tokens: Tokens) -> bool:
        """Whether `tokens` may be spent; if so they count as under way until they are settled."""
        if self._limit is not None and self._prices is not None:
            if self._prices.cost(self.used.plus(self._reserved).plus(tokens)) > self._limit:
                return False
        self._reserved = self._reserved.plus(tokens)
        return True

    def settle(self, reserved: Tokens, used: Tokens) -> None:
        self._reserved = Tokens(
            self._reserved.prompt - reserved.prompt, self._reserved.completion - reserved.completion
        )
        self.used = self.used.plus(used)

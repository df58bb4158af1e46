"""A text in the making: which token comes next, what it adds to the text, and when it ends."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from fintunnel_server.json_string import JsonStringReader

__all__ = ["Writing"]

_GREEDY_BELOW = 0.01  # below, sampling is greedy all but in name, and logits / temperature overflow


class Writing:
    """Takes logits, one step after another; `produced` are the tokens so far, `finished` why it ended."""

    def __init__(
        self,
        tokenizer: Any,
        end_tokens: frozenset[int],
        *,
        max_tokens: int,
        in_json_string: bool = False,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.produced: list[int] = []
        self.finished: Literal["stop", "length"] | None = None
        self._text = _Detokenizer(tokenizer)
        self._reader = JsonStringReader() if in_json_string else None
        self._end_tokens = end_tokens
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed) if seed is not None else None

    def take(self, logits: Any) -> str:
        """Choose the next token by float32 logits (vocabulary,); returns what it adds to the text.

        Raises:
            FloatingPointError: the logits are no numbers.
        """
        highest = logits.max(dim=0)
        if not math.isfinite(highest.values):
            raise FloatingPointError("the model's logits are not finite")
        if self._temperature >= _GREEDY_BELOW:
            weights = torch.softmax(logits / self._temperature, dim=0)
            token = int(torch.multinomial(weights, 1, generator=self._generator))
        else:
            token = int(highest.indices)
        if token in self._end_tokens:
            self.finished = "stop"
            return ""
        self.produced.append(token)
        if len(self.produced) >= self._max_tokens:
            self.finished = "length"
        piece = self._text.feed(token)
        if self._reader is None:
            return piece
        piece = self._reader.feed(piece)
        if self._reader.closed:
            self.finished = "stop"
        return piece


class _Detokenizer:
    """Text of tokens as they come. A character of several tokens appears with its last one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        # Decoded together with the tokens just before: some tokenizers drop a space at the beginning of a text.
        self._context = 0
        self._given = 0

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        before = self._decode(self._tokens[self._context : self._given])
        after = self._decode(self._tokens[self._context :])
        if after.endswith("\ufffd"):
            return ""
        self._context, self._given = self._given, len(self._tokens)
        return after[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        if not tokens:
            return ""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

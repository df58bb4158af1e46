"""A text in the making: which token comes next, what it adds to the text, and when it ends."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from fintunnel.json_string import JsonStringReader

from fintunnel_server.engine import Piece, Sampling, TokenLogprob
from fintunnel_server.errors import SchemaRejected
from fintunnel_server.inference.json_constraint import JsonConstraint

__all__ = ["Writing"]

_GREEDY_BELOW = 0.01  # below, sampling is greedy all but in name, and logits / temperature overflow
_GREEDY = Sampling()
_BROKEN = "\ufffd"  # what decoders put in place of half a character


class Writing:
    """Takes logits, one step after another; `produced` are the tokens so far, `finished` why it ended."""

    def __init__(
        self,
        tokenizer: Any,
        end_tokens: frozenset[int],
        *,
        max_tokens: int,
        in_json_string: bool = False,
        sampling: Sampling = _GREEDY,
        constraint: JsonConstraint | None = None,
    ) -> None:
        """`constraint`: `sampling.json_schema`, compiled."""
        self.produced: list[int] = []
        self.finished: Literal["stop", "length"] | None = None
        self._text = _Detokenizer(tokenizer)
        self._reader = JsonStringReader() if in_json_string else None
        self._end_tokens = end_tokens
        self._max_tokens = max_tokens
        self._sampling = sampling
        self._constraint = constraint
        seed = sampling.seed
        self._generator = torch.Generator().manual_seed(seed) if seed is not None else None

    def take(self, logits: Any) -> Piece:
        """Choose the next token by float32 logits (vocabulary,); returns what it adds to the text.

        Raises:
            FloatingPointError: the logits are no numbers.
            SchemaRejected: the schema costs too much here.
        """
        token = self._choose(logits)
        if token in self._end_tokens:
            self.finished = "stop"
            return Piece("")
        self.produced.append(token)
        if len(self.produced) >= self._max_tokens:
            self.finished = "length"
        if self._constraint is not None and self._constraint.accept(token):
            self.finished = "stop"
        tokens = () if self._sampling.top_logprobs is None else (self._logprob(token, logits),)
        text = self._text.feed(token)
        if self._reader is not None:
            text = self._reader.feed(text)
            if self._reader.closed:
                self.finished = "stop"
        return Piece(text, tokens)

    def _choose(self, logits: Any) -> int:
        if not math.isfinite(logits.max()):
            raise FloatingPointError("the model's logits are not finite")
        if self._constraint is not None:
            logits = self._constraint.confine(logits)
            if not math.isfinite(logits.max()):
                raise SchemaRejected("这个 schema 在这里不允许任何 token")
        if self._sampling.temperature < _GREEDY_BELOW:
            return int(logits.argmax())
        weights = torch.softmax(logits / self._sampling.temperature, dim=0)
        if self._sampling.top_p < 1:
            weights = _nucleus(weights, self._sampling.top_p)
        return int(torch.multinomial(weights, 1, generator=self._generator))

    def _logprob(self, token: int, logits: Any) -> TokenLogprob:
        logprobs = torch.log_softmax(logits, dim=0)
        likeliest = logprobs.topk(self._sampling.top_logprobs or 0)
        top = [
            self._told(other, logprob)
            for logprob, other in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
        ]
        chosen = self._told(token, float(logprobs[token]))
        return TokenLogprob(chosen.text, chosen.logprob, chosen.raw, top)

    def _told(self, token: int, logprob: float) -> TokenLogprob:
        text = self._text.alone(token)
        return TokenLogprob(text, logprob, None if _BROKEN in text else text.encode())


def _nucleus(weights: Any, top_p: float) -> Any:
    """The probabilities of the likeliest tokens that together hold `top_p`, the likeliest always among them; 0 for
    others. (Holtzman et al., The Curious Case of Neural Text Degeneration, 2020)"""
    ordered, indices = weights.sort(descending=True, stable=True)
    before = ordered.cumsum(0) - ordered
    kept = torch.where(before < top_p, ordered, torch.zeros_like(ordered))
    kept[0] = ordered[0]
    return torch.zeros_like(weights).scatter_(0, indices, kept)


class _Detokenizer:
    """Text of tokens as they come. A character of several tokens appears with its last one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        # Decoded together with the tokens just before: some tokenizers drop a space at the beginning of a text.
        self._context = 0
        self._given = 0
        self._alone: dict[int, str] = {}

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        before = self._decode(self._tokens[self._context : self._given])
        after = self._decode(self._tokens[self._context :])
        if after.endswith(_BROKEN):
            return ""
        self._context, self._given = self._given, len(self._tokens)
        return after[len(before) :]

    def alone(self, token: int) -> str:
        """The text of one token, as it stands after another."""
        if token not in self._alone:
            once = self._decode([token])
            self._alone[token] = self._decode([token, token])[len(once) :] or once
        return self._alone[token]

    def _decode(self, tokens: list[int]) -> str:
        if not tokens:
            return ""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

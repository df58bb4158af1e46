"""How many tokens a conversation has, without the upstream's tokenizer: an estimate that is meant to be too high.

At start the upstream counts a Chinese and an ASCII sample; from then on nothing is asked. Where it counts nothing,
`UNMEASURED` is used. Text that splits into more tokens than the samples (rare characters, emoji) can still exceed
the estimate: the upstream then refuses the prompt, and the caller gets the error of a prompt that is too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fintunnel.prompt import Message

__all__ = ["ASCII_SAMPLE", "SHORTEST_SAMPLE", "UNMEASURED", "WIDE_SAMPLE", "TokenEstimate", "measured"]

SHORTEST_SAMPLE = "."
WIDE_SAMPLE = (
    "美联储宣布加息二十五个基点，符合市场预期；现货黄金短线走高，随后回落。"
    "欧洲央行行长称，通胀风险仍偏上行，未来利率路径取决于数据，市场正在消化这一表态。"
)
ASCII_SAMPLE = (
    '{"impact":"low|medium|high","direction":"bearish|neutral|bullish","signals":{"priced_in":bool},"rationale":""} '
    "XAUUSD 3,345.10 +0.12% 2025-08-12 20:30 CPI 2.7% vs 2.8%; Nonfarm payrolls rose by 22,000 in August."
)
_MARGIN = 1.25  # a text may split into a quarter more tokens than the sample of its kind
_PER_MESSAGE = 8  # what a template puts around each further message
_MOST_PER_CHARACTER = 4.0  # a character has at most 4 bytes, and a token at least one


@dataclass(frozen=True)
class TokenEstimate:
    """Tokens per character outside and within ASCII, and per conversation of one message."""

    per_wide: float
    per_ascii: float
    per_conversation: float

    def __call__(self, messages: Sequence[Message]) -> int:
        text = "".join(message["content"] for message in messages)
        wide = sum(not character.isascii() for character in text)
        further = _PER_MESSAGE * max(len(messages) - 1, 0)
        return round(self.per_conversation + further + self.per_wide * wide + self.per_ascii * (len(text) - wide) + 0.5)


UNMEASURED = TokenEstimate(per_wide=2.0, per_ascii=1.0, per_conversation=64.0)


def measured(shortest: int | None, wide: int | None, ascii_: int | None) -> TokenEstimate:
    """From an upstream's counts of the samples' prompts; what it did not count, or cannot have counted, is as in
    `UNMEASURED`."""
    if shortest is None:
        return UNMEASURED
    return TokenEstimate(
        _rate(wide, shortest, WIDE_SAMPLE) or UNMEASURED.per_wide,
        _rate(ascii_, shortest, ASCII_SAMPLE) or UNMEASURED.per_ascii,
        float(shortest),
    )


def _rate(tokens: int | None, shortest: int, sample: str) -> float | None:
    if tokens is None:
        return None
    rate = (tokens - shortest) / len(sample)
    return rate * _MARGIN if 0 < rate <= _MOST_PER_CHARACTER else None

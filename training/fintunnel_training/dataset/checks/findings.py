"""What a check found: how bad, how often, where, and what to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["Example", "Finding", "Severity", "excerpt", "found"]

Severity = Literal["错误", "警告", "提示"]
_EXCERPT = 60
_LISTED = 1000  # examples that a finding keeps; its count is always complete
# What may move the cursor, hide text or turn its direction on a terminal.
_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


class Example(NamedTuple):
    """`line` counts from 1; `excerpt` is safe to show on a terminal."""

    file: str
    line: int
    excerpt: str


@dataclass(frozen=True)
class Finding:
    """`count` rows out of `total`; `code` is for programs, the other words are for people."""

    code: str
    severity: Severity
    title: str
    count: int
    total: int
    advice: str
    examples: Sequence[Example] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "title": self.title,
            "count": self.count,
            "total": self.total,
            "share": round(self.count / self.total, 4) if self.total else None,
            "advice": self.advice,
            "examples": [example._asdict() for example in self.examples],
        }


def found(
    code: str, severity: Severity, title: str, advice: str, examples: Sequence[Example], total: int
) -> list[Finding]:
    """The finding of all `examples`, or none where there is none."""
    if not examples:
        return []
    return [Finding(code, severity, title, len(examples), total, advice, examples[:_LISTED])]


def excerpt(text: str, around: str = "") -> str:
    """A short piece of `text`, from a little before `around` where that is given, with everything that is no
    visible character written as an escape: rows come from anywhere and must not steer a terminal."""
    at = text.find(around) if around else 0
    start = max(0, at - 12)
    piece = text[start : start + _EXCERPT]
    shown = "".join(_visible(character) for character in piece)
    return ("…" if start else "") + shown + ("…" if start + _EXCERPT < len(text) else "")


def _visible(character: str) -> str:
    if character == "\n":
        return "⏎"
    if unicodedata.category(character) in _UNSAFE:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character

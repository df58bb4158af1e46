"""What two answers have in common, by words of Latin letters and digits and by single Chinese characters."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import groupby
from typing import NamedTuple

__all__ = ["Segment", "diff_texts"]

_WORDS = re.compile(r"[A-Za-z]+|\d+(?:[.,]\d+)*%?|\s+|.", re.DOTALL)
_UNLIKE = 0.25  # below this all would be marked, which tells nothing


class Segment(NamedTuple):
    text: str
    changed: bool


def diff_texts(before: str, after: str) -> tuple[list[Segment], list[Segment]] | None:
    """Both texts in segments, `changed` where the other lacks them; None where they have too little in common."""
    left, right = _WORDS.findall(before), _WORDS.findall(after)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < _UNLIKE:
        return None
    pairs: tuple[list[Segment], list[Segment]] = ([], [])
    for kind, a, b, c, d in matcher.get_opcodes():
        # A single character in common between two changes is chance: marked through, it reads better.
        equal = kind == "equal" and (b - a > 1 or len(left[a]) > 1 or a == 0 or b == len(left))
        for segments, words in ((pairs[0], left[a:b]), (pairs[1], right[c:d])):
            if words:
                segments.append(Segment("".join(words), not equal))
    return _joined(pairs[0]), _joined(pairs[1])


def _joined(segments: list[Segment]) -> list[Segment]:
    return [
        Segment("".join(part.text for part in parts), changed)
        for changed, parts in groupby(segments, key=lambda part: part.changed)
    ]

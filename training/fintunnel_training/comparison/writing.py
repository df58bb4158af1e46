"""What can be said of written text without a person: are its figures right, its form, does it repeat itself.

Every function takes one text; shares are between 0 and 1.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from fintunnel_training.dataset.grounding import figures_not_in

__all__ = ["foreign_share", "repeated_share", "right_figures", "says_not_stated"]

_PIECE = 4  # characters: about two Chinese words
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_NOT_STATED = re.compile(
    r"(?:没有|没|并未|未|无)(?:明确)?(?:提及|提到|提供|说明|披露|给出|涉及|记载|写明|写|相关)|无法(?:得知|确定|判断|计算|回答)"
)
_UP = re.compile("增长|增加|上升|提高|扩大|改善|上涨|增至|升至")
_DOWN = re.compile("下降|减少|降低|下滑|缩小|恶化|下跌|降至|减至")
_ALLOWED = re.compile(
    r"[一-鿿〇0-9A-Z\s]"
    r"|[，。、；：？！“”‘’「」『』《》（）【】—…·％～＋－]"
    r"|[%.,+\-–/:()&'$€£¥°]"
)


def right_figures(answer: str, reference: str, source: str) -> bool | None:
    """Whether `answer` holds every figure that `reference` gives as its result, and none that nothing supports, and
    does not say "fell" where `reference` says "rose".

    The result: the figures of `reference` that do not stand in `source` (the question and its passages); where all of
    them stand there, all of them. None where `reference` has no figure: then there is nothing to compare.
    """
    expected = _numbers(reference)
    if not expected:
        return None
    result = expected - _numbers(source) or expected
    turned = {_way(reference), _way(answer)} == {"up", "down"}
    return result <= _numbers(answer) and not turned and not figures_not_in(answer, f"{source}\n{reference}")


def says_not_stated(answer: str) -> bool:
    """Whether it says that the passages do not say."""
    return _NOT_STATED.search(answer) is not None


def repeated_share(text: str) -> float:
    """Of the runs of four characters, those that had been there before: 0 for text that never repeats itself."""
    pieces = Counter(text[start : start + _PIECE] for start in range(len(text) - _PIECE + 1))
    total = sum(pieces.values())
    return 0.0 if total == 0 else 1 - len(pieces) / total


def foreign_share(text: str, source: str) -> float:
    """Of the characters, those that Chinese finance text does not have: other scripts, small Latin letters, control and
    replacement characters. Words that `source` itself uses are allowed."""
    if not text:
        return 0.0
    words = set(re.findall(r"[A-Za-z]+", source))
    rest = re.sub(r"[A-Za-z]+", lambda match: "" if match[0] in words else match[0], text)
    return sum(_ALLOWED.match(character) is None for character in rest) / len(text)


def _way(text: str) -> str:
    """Which way it says that something went: "up", "down", or "" where it says neither or both."""
    up, down = _UP.search(text) is not None, _DOWN.search(text) is not None
    return "" if up == down else "up" if up else "down"


def _numbers(text: str) -> set[str]:
    """As written, without thousands separators and trailing zeros, so that 12.50 and 12.5 are one."""
    found = set()
    for match in _NUMBER.finditer(unicodedata.normalize("NFKC", text)):
        digits = match[0].replace(",", "")
        found.add(digits.rstrip("0").rstrip(".") if "." in digits else digits)
    return found

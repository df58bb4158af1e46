"""Text of news, models and raters in a document: what it says is kept, what it could do to the page is not."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["harmless", "shortened"]

_SUSPECTS = re.compile(r"[^\x20-\x7e\n\u4e00-\u9fff\u3000-\u303f\uff00-\uffee]")
# Markup's own and what the eye cannot see; line ends and tabs are layout.
_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def harmless(text: str) -> str:
    """Controls, direction overrides, lone surrogates and other invisible characters are shown as `\\u202e`.

    Escaping `<`, `&` and quotes is the template's work.
    """
    return _SUSPECTS.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\t":
        return " "
    if unicodedata.category(character) in _CATEGORIES:
        return character.encode("unicode_escape").decode("ascii")
    return character


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

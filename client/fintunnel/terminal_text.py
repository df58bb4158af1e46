"""Text of others on a terminal: what a model, a server or a file says may hold control sequences."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Control characters are shown as escapes, never sent to the terminal; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)

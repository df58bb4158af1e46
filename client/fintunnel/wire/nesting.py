"""How deep and how wide a JSON value is, without recursion: strangers nest as deep as they like."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["levels"]


def levels(value: object) -> Iterator[list[object]]:
    """The value alone, then all that it holds, then all that these hold …"""
    level: list[object] = [value]
    while level:
        yield level
        held = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [child for each in held if isinstance(each, list) for child in each]

"""Untrusted text on a terminal: nothing in it is obeyed, and Chinese breaks where it may.

Rich breaks lines at spaces, which Chinese does not have, so lines are cut here, by the width of characters on screen.
"""

from __future__ import annotations

from fintunnel.terminal_text import is_plain
from rich.cells import cell_len
from rich.text import Text

__all__ = ["visible", "wrap"]

_NOT_AT_START = "，。；：、？！）】》」』”’,.;:?!)]}%"
_NOT_AT_END = "（【《「『“‘(["
_LONGEST = 4000  # characters shown of one field


def visible(text: str) -> str:
    """The text with everything that a terminal would obey or hide spelled out, line breaks kept, tabs as spaces; at
    most `_LONGEST` characters, then how many more there are."""
    more = f"…（还有 {len(text) - _LONGEST:,} 字）" if len(text) > _LONGEST else ""
    text = text[:_LONGEST].replace("\r\n", "\n").replace("\t", "    ")
    return "".join(c if c == "\n" or is_plain(c) else _spelled(c) for c in text) + more


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def wrap(text: Text, width: int) -> Text:
    """Cut into lines of at most `width` columns: between any two wide characters, at spaces elsewhere; no line begins
    with a closing mark."""
    lines = [line for whole in text.split("\n", allow_blank=True) for line in _wrap_line(whole, width)]
    wrapped = Text("\n", no_wrap=True).join(lines)
    wrapped.no_wrap = True
    return wrapped


def _wrap_line(line: Text, width: int) -> list[Text]:
    plain, cuts, start, used, allowed = line.plain, [], 0, 0, 0
    for position, character in enumerate(plain):
        wide = cell_len(character)
        before = plain[position - 1] if position else ""
        if (
            position > start
            and character not in _NOT_AT_START
            and (before == " " or wide == 2 or cell_len(before) == 2 or (before in "|,;" and not character.isdigit()))
            and before not in _NOT_AT_END
        ):
            allowed = position
        if used + wide > width and character != " ":  # a space may hang over the edge, where it is dropped
            cut = allowed if allowed > start else position  # one word longer than a line is cut anywhere
            cuts.append(cut)
            start = cut
            used = cell_len(plain[cut:position])
        used += wide
    pieces = list(line.divide(cuts))
    for piece in pieces:
        piece.rstrip()
    return pieces

"""Reads the inside of a JSON string as a model writes it, piece by piece, whatever the model writes."""

from __future__ import annotations

__all__ = ["JsonStringReader"]

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": " ", "f": " ", "n": " ", "r": " ", "t": " "}
_HEX = frozenset("0123456789abcdefABCDEF")


class JsonStringReader:
    """Gives the string's value on one line: escapes decoded, white space and control characters become single spaces,
    a broken escape loses its backslash, half of a surrogate pair is dropped. So the value can always be sent.

    `closed`: the unescaped quote that ends the string has come; what follows it is not read.
    """

    def __init__(self) -> None:
        self.closed = False
        self._escape = ""  # an escape that is not whole yet, from its backslash on
        self._high = 0  # the first half of a surrogate pair that waits for its second
        self._space = False  # a space that waits for something after it
        self._begun = False

    def feed(self, text: str) -> str:
        """The characters that `text` adds to the value."""
        given = []
        for character in text:
            if self.closed:
                break
            given.append(self._read(character))
        return "".join(given)

    def _read(self, character: str) -> str:
        if self._escape:
            return self._read_escaped(character)
        if character == "\\":
            self._escape = "\\"
            return ""
        if character == '"':
            self.closed = True
            return ""
        return self._give(character)

    def _read_escaped(self, character: str) -> str:
        if self._escape == "\\":
            if character == "u":
                self._escape = "\\u"
                return ""
            self._escape = ""
            # An unknown escape (\d): the backslash goes, the character stays.
            return self._give(_ESCAPES.get(character, character))
        if character in _HEX:
            self._escape += character
            if len(self._escape) < len("\\uXXXX"):
                return ""
            code, self._escape = int(self._escape[2:], 16), ""
            return self._give_code(code)
        broken, self._escape = self._escape[1:], ""
        return "".join(map(self._give, broken)) + self._read(character)

    def _give_code(self, code: int) -> str:
        if 0xD800 <= code < 0xDC00:
            self._high = code
            return ""
        if 0xDC00 <= code < 0xE000:
            high, self._high = self._high, 0
            return self._give(chr(0x10000 + (high - 0xD800) * 0x400 + code - 0xDC00)) if high else ""
        return self._give(chr(code))

    def _give(self, character: str) -> str:
        self._high = 0
        if character.isspace() or not character.isprintable():
            if 0xD800 <= ord(character) < 0xE000:
                return ""
            self._space = self._begun
            return ""
        space, self._space, self._begun = self._space, False, True
        return f" {character}" if space else character

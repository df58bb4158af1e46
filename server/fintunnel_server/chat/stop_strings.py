"""Ends a reply where one of the caller's stop strings begins, however the pieces split it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from fintunnel_server.engine import Piece

__all__ = ["StopStrings"]


class StopStrings:
    """Holds back what may be the beginning of a stop string. `found`: one has come, and nothing more is to be read."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held: deque[Piece] = deque()
        self.found = False

    def feed(self, piece: Piece) -> list[Piece]:
        """The pieces that can be given now; the last one is cut before a stop string."""
        self._held.append(piece)
        text = "".join(held.text for held in self._held)
        begins = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if begins:
            self.found = True
            return self._before(min(begins))
        return self._release(len(text) - self._overlap(text))

    def rest(self) -> list[Piece]:
        """What was held back, at the end of the reply."""
        given, self._held = list(self._held), deque()
        return given

    def _before(self, length: int) -> list[Piece]:
        given = []
        while self._held and length > 0:
            piece = self._held.popleft()
            given.append(replace(piece, text=piece.text[:length]))
            length -= len(piece.text)
        return given

    def _release(self, length: int) -> list[Piece]:
        """The pieces that end within so many characters."""
        given = []
        while self._held and len(self._held[0].text) <= length:
            piece = self._held.popleft()
            length -= len(piece.text)
            given.append(piece)
        return given

    def _overlap(self, text: str) -> int:
        """Characters at the end of `text` that a stop string may begin with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0

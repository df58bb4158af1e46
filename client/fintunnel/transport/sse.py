"""Server-sent events out of bytes, however the bytes were split. Pure: no network here."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["EventReader", "EventTooLarge", "ServerEvent"]

_LINE_END = re.compile(rb"\r\n|\r|\n")
_MAX_EVENT_BYTES = 1 << 20


class ServerEvent(NamedTuple):
    """`name` is "message" where the server gave none."""

    name: str
    data: str


class EventTooLarge(ValueError):
    """An event that does not end."""


class EventReader:
    """Gives each event. Comments and other fields are read over; lines may end in LF, CR or CRLF."""

    def __init__(self) -> None:
        self._rest = bytearray()  # a line that is not whole yet
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that are complete now.

        Raises:
            EventTooLarge: an event of more than a mebibyte.
        """
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        first, *others = _LINE_END.split(chunk)
        self._rest += first
        events = []
        for following in others:
            line, self._rest = bytes(self._rest), bytearray(following)
            event = self._line(line)
            if event is not None:
                events.append(event)
        if self._size + len(self._rest) > _MAX_EVENT_BYTES:
            raise EventTooLarge("an event of more than a mebibyte")
        return events

    def end(self) -> list[ServerEvent]:
        """A last event that only lacks its blank line. A line that the end cuts off is dropped."""
        event = self._line(b"")
        return [] if event is None else [event]

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            name, self._name = self._name, ""
            data, self._data, self._size = self._data, [], 0
            return ServerEvent(name or "message", "\n".join(data)) if data else None
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if field == b"data":
            self._size += len(value)
            self._data.append(text)
        elif field == b"event":
            self._name = text
        return None

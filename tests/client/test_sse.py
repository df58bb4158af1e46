"""Server-sent events, cut anywhere."""

from __future__ import annotations

import pytest
from fintunnel.transport.sse import EventReader, EventTooLarge, ServerEvent

STREAM = ': 保持连接\n\ndata: {"a":"金"}\r\n\r\nevent: x\rdata:b\rdata:  c\r\rid: 7\n\ndata: [DONE]\n\n'.encode()
EVENTS = [ServerEvent("message", '{"a":"金"}'), ServerEvent("x", "b\n c"), ServerEvent("message", "[DONE]")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_bytes_are_split(size: int) -> None:
    reader = EventReader()
    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [event for chunk in chunks for event in reader.feed(chunk)] == EVENTS


def test_events_are_the_same_at_every_single_split() -> None:
    for at in range(len(STREAM)):
        reader = EventReader()
        assert reader.feed(STREAM[:at]) + reader.feed(STREAM[at:]) == EVENTS


def test_the_end_completes_an_event_but_not_a_line() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\ndata: b") == [] and reader.end() == [ServerEvent("message", "a")]
    assert EventReader().end() == []


@pytest.mark.parametrize("chunk", [b"x" * 70_000, b"data: " + b"x" * 70_000 + b"\n"])
def test_an_event_without_an_end_is_refused(chunk: bytes) -> None:
    reader = EventReader()
    with pytest.raises(EventTooLarge):
        for _ in range(20):
            reader.feed(chunk)

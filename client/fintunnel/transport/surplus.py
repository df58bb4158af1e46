"""Answers that nobody asked for.

A server or a proxy that sends more than one answer to a request leaves the rest in the connection's buffer, where the
next request on it would find it and take it for its own. An answer is only believed if something was read from the
network after its request was sent. What has not been read yet httpcore sees: an idle connection with bytes waiting is
not used again. HTTP/2 numbers its answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["Reads", "counting_reads", "note_read", "refuse_surplus"]


@dataclass
class Reads:
    count: int = 0


_reads: ContextVar[Reads | None] = ContextVar("fintunnel_reads", default=None)


@contextmanager
def counting_reads() -> Iterator[Reads]:
    """Inside, the reads of this thread or task are counted."""
    reads = Reads()
    before = _reads.set(reads)
    try:
        yield reads
    finally:
        _reads.reset(before)


def note_read() -> None:
    reads = _reads.get()
    if reads is not None:
        reads.count += 1


def refuse_surplus(reads: Reads, extensions: Mapping[str, Any]) -> None:
    """
    Raises:
        httpx.RemoteProtocolError: the answer was there before its request.
    """
    if not reads.count and extensions.get("http_version") in (b"HTTP/1.1", b"HTTP/1.0"):
        raise httpx.RemoteProtocolError("an answer that nobody asked for")

"""When the first pieces of a streamed answer had come: seconds after the request, nan where they never did."""

from __future__ import annotations

import json
import math

from bench.serving.load import Reply

__all__ = ["first_event", "first_of_chat"]

_OPENS_RATIONALE = '"rationale":"'


def first_event(reply: Reply, name: str) -> float:
    """Of server-sent events with names."""
    so_far = b""
    for at, piece in reply.pieces:
        so_far += piece
        if f"event: {name}\n".encode() in so_far:
            return at - reply.began
    return math.nan


def first_of_chat(reply: Reply) -> tuple[float, float]:
    """Of an answer as JSON in OpenAI's stream: its first text, and the first of its rationale."""
    first, text, rest = math.nan, "", b""
    for at, piece in reply.pieces:
        *lines, rest = (rest + piece).split(b"\n")
        before, text = text, text + "".join(_text(line) for line in lines)
        if text and not before:
            first = at - reply.began
        if text.partition(_OPENS_RATIONALE)[2]:
            return first, at - reply.began
    return first, math.nan


def _text(line: bytes) -> str:
    if not line.startswith(b"data: {"):
        return ""
    choices = json.loads(line[6:]).get("choices") or [{"delta": {}}]
    return choices[0]["delta"].get("content") or ""

"""What a conversation asks of the inference thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fintunnel_server.engine import Piece
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.writing import Writing

__all__ = ["Job", "ScoreJob", "WriteJob"]


@dataclass(eq=False)
class Job:
    """One call of a conversation. `done` is called on the inference thread, with the error that ended it or None."""

    sequence: CachedSequence
    done: Callable[[BaseException | None], None]
    asked: float = field(default_factory=time.monotonic)
    began: float | None = None
    ended: float = 0.0


@dataclass(eq=False)
class ScoreJob(Job):
    """`paths`: per field its labels' tokens, after the sequence's prompt; `scores` come in the same form."""

    paths: Sequence[Mapping[str, Sequence[int]]] = ()
    scores: list[dict[str, float]] = field(default_factory=list)


@dataclass(eq=False)
class WriteJob(Job):
    """`answer`: the tokens to be continued, after the sequence's prompt; `piece` is called with each piece."""

    answer: Sequence[int] = ()
    writing: Writing | None = None
    piece: Callable[[Piece], None] | None = None
    writes: bool = False
    """the answer so far is in the model's memory: one token a pass"""

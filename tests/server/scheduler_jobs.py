"""Jobs for a scheduler, and their ends to be waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from fintunnel_server.engine import Piece
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.jobs import ScoreJob, WriteJob
from fintunnel_server.inference.scheduler import Scheduler
from fintunnel_server.inference.writing import Writing

PROMPT = [5, 6, 7, 8, 9]


class Letters:
    """A tokenizer whose tokens are characters."""

    def decode(self, tokens: Sequence[int], **options: object) -> str:
        del options
        return "".join(chr(0x4E00 + token) for token in tokens)


class Waiting:
    """The end of a job, to be waited for from another thread."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: BaseException | None = None

    def done(self, error: BaseException | None) -> None:
        self._error = error
        self._over.set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def result(self) -> None:
        assert self._over.wait(20)
        if self._error is not None:
            raise self._error


def new_sequence(*, tokens: int = 32, shared: int = 0, prompt: Sequence[int] = PROMPT) -> CachedSequence:
    return CachedSequence(prompt, shared=shared, adapter=None, answer_tokens=tokens)


def score(scheduler: Scheduler, sequence: CachedSequence, answer: Sequence[int] = (10,)) -> tuple[ScoreJob, Waiting]:
    waiting = Waiting()
    job = ScoreJob(sequence, waiting.done, paths=[{"a": [*answer, 11], "b": [*answer, 12], "c": [*answer, 13, 14]}])
    scheduler.submit(job)
    return job, waiting


def write(
    scheduler: Scheduler, sequence: CachedSequence, tokens: int, answer: Sequence[int] = (10,)
) -> tuple[list[str], Waiting]:
    waiting = Waiting()
    pieces: list[str] = []
    writing = Writing(Letters(), frozenset(), max_tokens=tokens)

    def give(piece: Piece) -> None:
        pieces.append(piece.text)

    job = WriteJob(sequence, waiting.done, answer=answer, writing=writing, piece=give)
    scheduler.submit(job)
    return pieces, waiting


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not holds():
        time.sleep(0.005)
    return holds()

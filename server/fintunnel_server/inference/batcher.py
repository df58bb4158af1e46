"""What goes into the next forward pass.

Conversations take a row of the model's memory in the order in which they came and keep it until they are left. Each
pass carries one token of every text being written, and as many waiting prompts and questions as its bound
allows; so a long text delays nobody, and whoever arrives joins the next pass.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from fintunnel_server.errors import EngineBusy, EngineFull
from fintunnel_server.inference.admission import Admission
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.choice_trie import ChoiceTrie, common_prefix
from fintunnel_server.inference.jobs import Job, ScoreJob, WriteJob
from fintunnel_server.inference.model_pass import ModelPass, Segment
from fintunnel_server.inference.shared_prefixes import SharedPrefixes

__all__ = ["Batcher"]

logger = logging.getLogger("fintunnel.server")

_FULL = "显存不足，这个请求没有完成，请稍后再试。"


@dataclass(frozen=True)
class _Fed:
    """What a job feeds in a pass; where it scores, the trie, and the number of its first token in the segment."""

    job: Job
    segment: Segment
    trie: ChoiceTrie | None = None
    first: int = 0


class Batcher:
    """Belongs to the inference thread, but for `admission` and for reading `passes`."""

    def __init__(self, model: ModelPass, admission: Admission, *, max_pass_tokens: int) -> None:
        """`max_pass_tokens`: of prompts and questions in one pass, unless a single one is longer."""
        self._model = model
        self.cache = model.cache
        self.admission = admission
        self._prefixes = SharedPrefixes(model)
        self._bounds = (self.cache.max_rows, max_pass_tokens)
        self._max_pass_tokens = max_pass_tokens
        self._waiting: list[Job] = []  # in the order in which their sequences came
        self._writing: list[WriteJob] = []
        self.pass_rows: Counter[int] = Counter()
        """how many of them carried so many sequences"""
        self.passes = 0
        """forward passes so far"""

    def add(self, job: Job) -> None:
        self._waiting.append(job)

    def leave(self, sequence: CachedSequence) -> None:
        """The sequence is over: whatever it is doing ends, and its row is free."""
        for job in [job for job in [*self._waiting, *self._writing] if job.sequence is sequence]:
            self._end(job, EngineBusy("对话已经结束。"))
        self._free(sequence)
        self._model.adapters.give_back(sequence.adapter)
        sequence.adapter = None

    def end_all(self, error: BaseException) -> None:
        for job in [*self._waiting, *self._writing]:
            self._end(job, error)

    def run(self) -> bool:
        """One forward pass, if there is anything to do: whether there was."""
        under_way = len(self._waiting) + len(self._writing)
        batch = [*self._next_tokens(), *self._next_questions()]
        if not batch:
            self._recover()
            return len(self._waiting) + len(self._writing) < under_way  # some have failed: others may have their rows
        self.passes += 1
        self.pass_rows[len(batch)] += 1
        try:
            self._feed(batch)
        except torch.OutOfMemoryError:
            self._shrink(batch)
        return True

    def _next_tokens(self) -> list[_Fed]:
        fed = []
        for job in self._writing:
            assert job.writing is not None
            fed.append(_Fed(job, job.sequence.writing([*job.answer, *job.writing.produced])))
        return fed

    def _next_questions(self) -> list[_Fed]:
        """Those under way first; then first come, first served: nobody overtakes for being shorter."""
        batch: list[_Fed] = []
        tokens = 0
        for job in sorted(self._waiting, key=lambda job: job.sequence.row is None):
            if not self._has_row(job):
                break
            job.began = job.began or time.monotonic()
            with self._failing_alone(job):
                fed = self._question(job)
                # The first one goes in however long it is: else it would wait until nobody writes.
                if tokens and tokens + len(fed.segment.tokens) > self._max_pass_tokens:
                    break
                tokens += len(fed.segment.tokens)
                batch.append(fed)
        return batch

    def _feed(self, batch: Sequence[_Fed]) -> None:
        try:
            results = self._model.run([fed.segment for fed in batch])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            logger.exception("a pass over %d sequences failed", len(batch))
            if len(batch) == 1:
                self._end(batch[0].job, error)
            else:  # the one that it is due to fails alone
                for fed in batch:
                    self._feed([fed])
            return
        for fed, (compared, logits) in zip(batch, results, strict=True):
            with self._failing_alone(fed.job):
                if isinstance(fed.job, ScoreJob):
                    self._take_scores(fed.job, fed, compared)
                elif isinstance(fed.job, WriteJob):
                    self._take_token(fed.job, logits)

    @contextmanager
    def _failing_alone(self, job: Job) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            self._drop(job)
        except Exception as error:
            self._end(job, error)

    def _has_row(self, job: Job) -> bool:
        sequence = job.sequence
        if sequence.row is not None:
            return True
        try:
            sequence.row = self.cache.take(sequence.room)
        except RuntimeError as error:  # less memory than it was allowed: so many rows and no more
            logger.warning("no memory for more than %d sequences for now: %s", self.cache.rows_in_use, error)
            if self.cache.rows_in_use == 0:
                self._drop(job)
            else:
                self.cache.max_rows = self.cache.rows_in_use
            return False
        if sequence.row is None:
            return False
        self.admission.go()
        return True

    def _question(self, job: Job) -> _Fed:
        """What a prompt or a question feeds, its sequence's row holding all that is known of it."""
        sequence = job.sequence
        if sequence.is_new and sequence.shared:
            self._prefixes.fill(sequence)
        if isinstance(job, ScoreJob):
            self._move(sequence, _common_answer(job.paths))
            segment, trie, first = sequence.scoring(job.paths)
            return _Fed(job, segment, trie, first)
        assert isinstance(job, WriteJob)
        self._move(sequence, job.answer)
        return _Fed(job, sequence.writing(job.answer))

    def _move(self, sequence: CachedSequence, answer: Sequence[int]) -> None:
        start, columns = sequence.moves(answer)
        if columns:
            assert sequence.row is not None
            self.cache.keep(sequence.row, start, columns)

    def _take_scores(self, job: ScoreJob, fed: _Fed, compared: Mapping[int, Mapping[int, float]]) -> None:
        assert fed.trie is not None
        job.scores = fed.trie.probabilities({number - fed.first: logits for number, logits in compared.items()})
        job.sequence.scored(fed.trie)
        self._end(job)

    def _take_token(self, job: WriteJob, logits: Any) -> None:
        assert job.writing is not None
        job.sequence.wrote([*job.answer, *job.writing.produced])
        if not job.writes:
            job.writes = True
            self._waiting.remove(job)
            self._writing.append(job)
        piece = job.writing.take(logits)
        if (piece.text or piece.tokens) and job.piece is not None:
            job.piece(piece)
        if job.writing.finished:
            self._end(job)

    def _end(self, job: Job, error: BaseException | None = None) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            if job.sequence.row is None:
                self.admission.go()
        if isinstance(job, WriteJob) and job in self._writing:
            self._writing.remove(job)
        job.ended = time.monotonic()
        job.done(error)

    def _free(self, sequence: CachedSequence) -> None:
        if sequence.row is not None:
            self.cache.give_back(sequence.row)
            sequence.lose_row()
            self.admission.row_is_free()

    def _drop(self, job: Job) -> None:
        torch.cuda.empty_cache()
        self._end(job, EngineFull(_FULL))
        self._free(job.sequence)

    def _shrink(self, batch: Sequence[_Fed]) -> None:
        """Out of memory in a pass over `batch`: fewer tokens in a pass for now; where there was a single prompt or
        question it is dropped, else the text that came last."""
        torch.cuda.empty_cache()
        questions = [fed for fed in batch if fed.job in self._waiting]
        if len(questions) > 1:
            self._max_pass_tokens = max(1, sum(len(fed.segment.tokens) for fed in questions) // 2)
            logger.warning("out of memory: passes of at most %d tokens for now", self._max_pass_tokens)
            return
        self._drop(questions[0].job if questions else batch[-1].job)
        self.cache.max_rows = max(1, self.cache.rows_in_use)
        logger.warning("out of memory: at most %d sequences at once for now", self.cache.max_rows)

    def _recover(self) -> None:
        """Whoever took the memory may be gone: with nothing under way, everything is tried again."""
        if self.cache.rows_in_use == 0 and not self._waiting:
            self.cache.max_rows, self._max_pass_tokens = self._bounds


def _common_answer(fields: Sequence[Mapping[str, Sequence[int]]]) -> list[int]:
    paths = [path for labels in fields for path in labels.values()]
    return list(paths[0][: common_prefix(paths)])

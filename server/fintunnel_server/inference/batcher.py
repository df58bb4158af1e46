"""What goes into the next forward pass.

Conversations take a row of the model's memory in the order in which they came and keep it until they are left. Each
pass carries one token of every text being written, and as many waiting prompts and questions as its bound
allows; so a long text delays nobody, and whoever arrives joins the next pass.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fintunnel_server.errors import EngineBusy, EngineFull
from fintunnel_server.inference.admission import Admission
from fintunnel_server.inference.chat import Chat
from fintunnel_server.inference.choice_trie import common_prefix
from fintunnel_server.inference.jobs import Job, ScoreJob, WriteJob
from fintunnel_server.inference.model_pass import ModelPass, Segment, chain

__all__ = ["Batcher"]

logger = logging.getLogger("fintunnel.server")

_SHARED_KEPT = 8


class Batcher:
    """Belongs to the inference thread, but for `admission` and for reading `passes`."""

    def __init__(self, model: ModelPass, admission: Admission, *, max_pass_tokens: int) -> None:
        self._model = model
        self.cache = model.cache
        self.admission = admission
        self._max_pass_tokens = max_pass_tokens
        self._waiting: list[Job] = []  # in the order in which their conversations came
        self._writing: list[WriteJob] = []
        self._shared: OrderedDict[tuple[str | None, tuple[int, ...]], Any] = OrderedDict()
        self.passes = 0
        """forward passes so far"""

    def add(self, job: Job) -> None:
        self._waiting.append(job)

    def leave(self, chat: Chat) -> None:
        """The conversation is over: whatever it is doing ends, and its row is free."""
        for job in [job for job in [*self._waiting, *self._writing] if job.chat is chat]:
            self._end(job, EngineBusy("对话已经结束。"))
        self._free(chat)

    def forget_adapter(self, name: str | None) -> None:
        """What was computed with an adapter that is no more."""
        for key in [key for key in self._shared if key[0] == name]:
            del self._shared[key]

    def end_all(self, error: BaseException) -> None:
        for job in [*self._waiting, *self._writing]:
            self._end(job, error)

    def run(self) -> bool:
        """One forward pass, if there is anything to do: whether there was."""
        try:
            return self._pass()
        except torch.OutOfMemoryError:
            self._shrink()
            return True

    def _pass(self) -> bool:
        batch: list[tuple[Job, Segment, Any]] = [(job, self._next_token(job), None) for job in self._writing]
        tokens = len(batch)
        # Those under way first; then first come, first served: nobody overtakes for being shorter.
        for job in sorted(self._waiting, key=lambda job: job.chat.row is None):
            if not self._has_row(job):
                break
            job.began = job.began or time.monotonic()
            try:
                segment, extra = self._question(job)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self._end(job, error)
                continue
            if tokens and tokens + len(segment.tokens) > self._max_pass_tokens:
                break
            tokens += len(segment.tokens)
            batch.append((job, segment, extra))
        if not batch:
            return False
        self.passes += 1
        try:
            results = self._model.run([segment for _, segment, _ in batch])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            logger.exception("a pass failed")
            for job, _, _ in batch:
                self._end(job, error)
            return True
        for (job, _, extra), (compared, logits) in zip(batch, results, strict=True):
            if isinstance(job, ScoreJob):
                self._take_scores(job, extra, compared)
            elif isinstance(job, WriteJob):
                self._take_token(job, logits)
        return True

    def _has_row(self, job: Job) -> bool:
        chat = job.chat
        if chat.row is None:
            chat.row = self.cache.take(chat.room)
            if chat.row is None:
                return False
            self.admission.go()
        return True

    def _question(self, job: Job) -> tuple[Segment, Any]:
        chat = job.chat
        adapter = self._model.adapters.number(chat.adapter)
        if chat.is_new and chat.shared:
            self._share(chat, adapter)
        if isinstance(job, ScoreJob):
            answer = _common_answer(job.paths)
            self._move(chat, answer)
            segment, trie, first = chat.scoring(job.paths, adapter)
            return segment, (trie, first)
        assert isinstance(job, WriteJob)
        self._move(chat, job.answer)
        return chat.writing(job.answer, adapter), None

    def _move(self, chat: Chat, answer: Sequence[int]) -> None:
        start, columns = chat.moves(answer)
        if columns:
            assert chat.row is not None
            self.cache.keep(chat.row, start, columns)

    def _share(self, chat: Chat, adapter: int) -> None:
        """Put what many prompts begin with into the row: computed once, always in the same pass alone."""
        assert chat.row is not None
        key = (chat.adapter, chat.shared_tokens)
        saved = self._shared.get(key)
        if saved is None:
            self._model.run([Segment(chat.row, 0, adapter, chat.shared_tokens, chain(chat.shared), {})])
            self._shared[key] = self.cache.copy_out(chat.row, chat.shared)
            if len(self._shared) > _SHARED_KEPT:
                self._shared.popitem(last=False)
        else:
            self._shared.move_to_end(key)
            self.cache.copy_in(chat.row, saved)
        chat.hold(chat.shared)

    def _take_scores(self, job: ScoreJob, extra: Any, compared: Mapping[int, Mapping[int, float]]) -> None:
        trie, first = extra
        job.scores = trie.probabilities({number - first: logits for number, logits in compared.items()})
        job.chat.scored(trie)
        self._end(job)

    def _next_token(self, job: WriteJob) -> Segment:
        assert job.writing is not None
        answer = [*job.answer, *job.writing.produced]
        return job.chat.writing(answer, self._model.adapters.number(job.chat.adapter))

    def _take_token(self, job: WriteJob, logits: Any) -> None:
        assert job.writing is not None
        job.chat.wrote([*job.answer, *job.writing.produced])
        if not job.writes:
            job.writes = True
            self._waiting.remove(job)
            self._writing.append(job)
        piece = job.writing.take(logits)
        if piece and job.piece is not None:
            job.piece(piece)
        if job.writing.finished:
            self._end(job)

    def _end(self, job: Job, error: BaseException | None = None) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            if job.chat.row is None:
                self.admission.go()
        if isinstance(job, WriteJob) and job in self._writing:
            self._writing.remove(job)
        job.ended = time.monotonic()
        job.done(error)

    def _free(self, chat: Chat) -> None:
        if chat.row is not None:
            self.cache.give_back(chat.row)
            chat.row = None
            self.admission.row_is_free()

    def _shrink(self) -> None:
        """Out of memory: smaller passes from now on; where a pass is as small as can be, the last one to come goes."""
        torch.cuda.empty_cache()
        cache = self.cache
        if self._waiting and self._max_pass_tokens > 1:
            self._max_pass_tokens //= 2
            logger.warning("out of memory: passes of at most %d tokens from now on", self._max_pass_tokens)
            if self._writing or len([job for job in self._waiting if job.chat.row is not None]) > 1:
                return
        jobs = [*self._writing, *(job for job in self._waiting if job.chat.row is not None)]
        cache.max_rows = max(1, min(cache.max_rows, cache.rows_in_use) - 1)
        logger.warning("out of memory: at most %d conversations at once from now on", cache.max_rows)
        if jobs:
            last = jobs[-1]
            self._end(last, EngineFull("显存不足，这个请求没有完成，请稍后再试。"))
            self._free(last.chat)


def _common_answer(fields: Sequence[Mapping[str, Sequence[int]]]) -> list[int]:
    paths = [path for labels in fields for path in labels.values()]
    return list(paths[0][: common_prefix(paths)])

"""The inference thread: what goes into the next pass.

Conversations take a row of the model's memory in the order in which they came and keep it until they are left. Each
pass carries one token of every text being written, and as many waiting prompts and questions as its bound
allows; so a long text delays nobody, and whoever arrives joins the next pass.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from fintunnel_server.errors import EngineBusy, EngineFull
from fintunnel_server.inference.chat import Chat
from fintunnel_server.inference.choice_trie import common_prefix
from fintunnel_server.inference.jobs import Job, ScoreJob, WriteJob
from fintunnel_server.inference.model_pass import ModelPass, Segment, chain

__all__ = ["Scheduler"]

logger = logging.getLogger("fintunnel.server")

_SHARED_KEPT = 8
_T = TypeVar("_T")


class Scheduler:
    """Runs jobs on a thread of its own. Methods may be called from any thread.

    The model is made on that thread too. Each thread that computes has OpenMP threads of its own; where there are more
    of them than cores, libgomp sends them to sleep after every loop, and a pass takes nearly twice as long.
    """

    def __init__(self, make_model: Callable[[], ModelPass], *, max_pass_tokens: int, max_waiting: int) -> None:
        """
        Raises:
            whatever `make_model` raises.
        """
        self._max_pass_tokens = max_pass_tokens
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._inbox: deque[Job | Callable[[], None]] = deque()
        self._closing = False
        self._waiting: list[Job] = []  # in the order in which their conversations came
        self._writing: list[WriteJob] = []
        self._shared: OrderedDict[tuple[str | None, tuple[int, ...]], Any] = OrderedDict()
        self._chats_waiting = 0
        self.passes = 0
        """forward passes so far"""
        self._left: deque[float] = deque(maxlen=32)  # when conversations gave their rows back
        made: Future[ModelPass] = Future()
        self._thread = threading.Thread(
            target=self._make_and_run, args=(make_model, made), name="inference", daemon=True
        )
        self._thread.start()
        self._model = made.result()

    @property
    def rows_in_use(self) -> int:
        return self._model.cache.rows_in_use

    @property
    def chats_waiting(self) -> int:
        """Conversations that have no row yet."""
        return self._chats_waiting

    def submit(self, job: Job) -> None:
        """
        Raises:
            EngineBusy: too many are waiting already.
            EngineFull: the conversation is longer than the memory.
        """
        if not self._model.cache.fits(job.chat.room):
            raise EngineFull("这个请求比模型的缓存还长，请缩短内容，或调大 FINTUNNEL_KV_CACHE_MIB。")
        with self._changed:
            if self._closing:
                raise EngineBusy("服务正在停止。")
            if job.chat.row is None:
                cache = self._model.cache
                if self._chats_waiting + cache.rows_in_use >= cache.max_rows + self._max_waiting:
                    raise EngineBusy(
                        f"排队已满（{self._max_waiting} 个），请稍后再试。", retry_after=self._seconds_to_wait()
                    )
                self._chats_waiting += 1
            self._inbox.append(job)
            self._changed.notify()

    def leave(self, chat: Chat) -> None:
        """The conversation is over: whatever it is doing ends, and its row is free."""
        self._tell(lambda: self._leave(chat))

    def between_passes(self, work: Callable[[], _T]) -> Future[_T]:
        """Run something on the inference thread while no pass runs."""
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._tell(run)
        return future

    def forget_adapter(self, name: str | None) -> None:
        """What was computed with an adapter that is no more. On the inference thread."""
        for key in [key for key in self._shared if key[0] == name]:
            del self._shared[key]

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _tell(self, work: Callable[[], None]) -> None:
        with self._changed:
            self._inbox.append(work)
            self._changed.notify()

    def _seconds_to_wait(self) -> float:
        """Until half of those that wait will have had their turn, as things have gone lately."""
        if len(self._left) < 2:
            return 1.0
        each = (self._left[-1] - self._left[0]) / (len(self._left) - 1)
        return min(60.0, max(1.0, each * self._chats_waiting / 2))

    # --- on the inference thread --------------------------------------------------------------------

    def _make_and_run(self, make_model: Callable[[], ModelPass], made: Future[ModelPass]) -> None:
        try:
            self._model = make_model()
        except BaseException as error:
            made.set_exception(error)
            return
        made.set_result(self._model)
        self._run()

    def _run(self) -> None:
        worked = False
        while True:
            with self._changed:
                # Nothing to do, or all rows are held by conversations that are thinking of their next question.
                while not (self._inbox or self._closing or worked):
                    self._changed.wait()
                arrived, self._inbox = self._inbox, deque()
                closing = self._closing
            for each in arrived:
                if isinstance(each, Job):
                    self._waiting.append(each)
                else:
                    each()
            if closing:
                for job in [*self._waiting, *self._writing]:
                    self._end(job, EngineBusy("服务正在停止。"))
                return
            try:
                worked = self._pass()
            except torch.OutOfMemoryError:
                worked = True
                self._shrink()

    def _leave(self, chat: Chat) -> None:
        chat.closed = True
        for job in [job for job in [*self._waiting, *self._writing] if job.chat is chat]:
            self._end(job, EngineBusy("对话已经结束。"))
        self._free(chat)

    def _free(self, chat: Chat) -> None:
        if chat.row is not None:
            self._model.cache.give_back(chat.row)
            chat.row = None
            self._left.append(time.monotonic())

    def _end(self, job: Job, error: BaseException | None = None) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            if job.chat.row is None:
                with self._changed:
                    self._chats_waiting -= 1
        if isinstance(job, WriteJob) and job in self._writing:
            self._writing.remove(job)
        job.ended = time.monotonic()
        job.done(error)

    def _pass(self) -> bool:
        """One forward pass, if there is anything to do: whether there was."""
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
            chat.row = self._model.cache.take(chat.room)
            if chat.row is None:
                return False
            with self._changed:
                self._chats_waiting -= 1
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
            self._model.cache.keep(chat.row, start, columns)

    def _share(self, chat: Chat, adapter: int) -> None:
        """Put what many prompts begin with into the row: computed once, always in the same pass alone."""
        assert chat.row is not None
        key = (chat.adapter, chat.shared_tokens)
        saved = self._shared.get(key)
        if saved is None:
            self._model.run([Segment(chat.row, 0, adapter, chat.shared_tokens, chain(chat.shared), {})])
            self._shared[key] = self._model.cache.copy_out(chat.row, chat.shared)
            if len(self._shared) > _SHARED_KEPT:
                self._shared.popitem(last=False)
        else:
            self._shared.move_to_end(key)
            self._model.cache.copy_in(chat.row, saved)
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

    def _shrink(self) -> None:
        """Out of memory: smaller passes from now on; where a pass is as small as can be, the last one to come goes."""
        torch.cuda.empty_cache()
        cache = self._model.cache
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

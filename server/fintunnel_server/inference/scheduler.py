"""The inference thread: takes jobs from any thread and lets the batcher make passes of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from fintunnel_server.errors import EngineBusy, EngineFull
from fintunnel_server.inference.admission import Admission
from fintunnel_server.inference.batcher import Batcher
from fintunnel_server.inference.chat import Chat
from fintunnel_server.inference.jobs import Job
from fintunnel_server.inference.model_pass import ModelPass

__all__ = ["Scheduler"]

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
        self._changed = threading.Condition()
        self._inbox: deque[Job | Callable[[], None]] = deque()
        self._closing = False

        def make() -> Batcher:
            model = make_model()
            return Batcher(model, Admission(model.cache, max_waiting=max_waiting), max_pass_tokens=max_pass_tokens)

        made: Future[Batcher] = Future()
        self._thread = threading.Thread(target=self._make_and_run, args=(make, made), name="inference", daemon=True)
        self._thread.start()
        self._batcher = made.result()

    @property
    def rows_in_use(self) -> int:
        return self._batcher.cache.rows_in_use

    @property
    def chats_waiting(self) -> int:
        """Conversations that have no row yet."""
        return self._batcher.admission.waiting

    @property
    def passes(self) -> int:
        """Forward passes so far."""
        return self._batcher.passes

    def submit(self, job: Job) -> None:
        """
        Raises:
            EngineBusy: too many are waiting already.
            EngineFull: the conversation is longer than the memory.
        """
        if not self._batcher.cache.fits(job.chat.room):
            raise EngineFull("这个请求比模型的缓存还长，请缩短内容，或调大 FINTUNNEL_KV_CACHE_MIB。")
        with self._changed:
            if self._closing:
                raise EngineBusy("服务正在停止。")
            if job.chat.row is None:
                self._batcher.admission.enter()
            self._inbox.append(job)
            self._changed.notify()

    def leave(self, chat: Chat) -> None:
        """The conversation is over: whatever it is doing ends, and its row is free."""
        self._tell(lambda: self._batcher.leave(chat))

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
        self._batcher.forget_adapter(name)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _tell(self, work: Callable[[], None]) -> None:
        with self._changed:
            self._inbox.append(work)
            self._changed.notify()

    # --- on the inference thread --------------------------------------------------------------------

    def _make_and_run(self, make: Callable[[], Batcher], made: Future[Batcher]) -> None:
        try:
            batcher = make()
        except BaseException as error:
            made.set_exception(error)
            return
        made.set_result(batcher)
        self._run(batcher)

    def _run(self, batcher: Batcher) -> None:
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
                    batcher.add(each)
                else:
                    each()
            if closing:
                batcher.end_all(EngineBusy("服务正在停止。"))
                return
            worked = batcher.run()

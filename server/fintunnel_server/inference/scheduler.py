"""The inference thread: takes jobs from any thread and lets the batcher make passes of them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from fintunnel_server.engine import Occupancy
from fintunnel_server.errors import EngineBusy, EngineFull, ServerError
from fintunnel_server.inference.admission import Admission
from fintunnel_server.inference.batcher import Batcher
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.jobs import Job
from fintunnel_server.inference.model_pass import ModelPass

__all__ = ["Scheduler"]

logger = logging.getLogger("fintunnel.server")

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
        self._over: Callable[[], ServerError] | None = None  # why nothing is taken any more
        self._broken = False

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
    def sequences_waiting(self) -> int:
        """Conversations that have no row yet."""
        return self._batcher.admission.waiting

    @property
    def passes(self) -> int:
        """Forward passes so far."""
        return self._batcher.passes

    def occupancy(self) -> Occupancy:
        rows = dict(self._batcher.pass_rows)  # one step of the interpreter: the inference thread may be counting
        return Occupancy(running=self.rows_in_use, waiting=self.sequences_waiting, pass_rows=rows)

    def submit(self, job: Job) -> None:
        """
        Raises:
            EngineBusy: too many are waiting already, or it is being closed.
            EngineFull: the conversation is longer than the memory.
        """
        if not self._batcher.cache.fits(job.sequence.room):
            raise EngineFull("这个请求比模型的缓存还长，请缩短内容，或调大 FINTUNNEL_KV_CACHE_MIB。")
        with self._changed:
            if self._over is not None:
                raise self._over()
            if job.sequence.row is None:
                self._batcher.admission.enter()
            self._inbox.append(job)
            self._changed.notify()

    def leave(self, sequence: CachedSequence) -> None:
        """The conversation is over: whatever it is doing ends, and its row is free."""
        with suppress(ServerError):  # then everything has ended anyway
            self._tell(lambda: self._batcher.leave(sequence))

    def between_passes(self, work: Callable[[], _T]) -> Future[_T]:
        """Run something on the inference thread while no pass runs.

        Raises:
            ServerError: that thread has ended.
        """
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._tell(run)
        return future

    def check(self) -> None:
        """
        Raises:
            EngineFull: the inference thread has broken down.
        """
        if self._broken and self._over is not None:
            raise self._over()

    def close(self) -> None:
        self._stop(lambda: EngineBusy("服务正在停止。"))
        self._thread.join()

    def _tell(self, work: Callable[[], None]) -> None:
        with self._changed:
            if self._over is not None:
                raise self._over()
            self._inbox.append(work)
            self._changed.notify()

    def _stop(self, error: Callable[[], ServerError]) -> None:
        with self._changed:
            self._over = self._over or error
            self._changed.notify()

    # --- on the inference thread --------------------------------------------------------------------

    def _make_and_run(self, make: Callable[[], Batcher], made: Future[Batcher]) -> None:
        try:
            batcher = make()
        except BaseException as error:
            made.set_exception(error)
            return
        made.set_result(batcher)
        try:
            self._run(batcher)
        except BaseException:
            logger.critical("the inference thread broke down", exc_info=True)
            self._broken = True
            self._stop(lambda: EngineFull("推理线程出错停止了，请重新启动服务。"))
            self._end(batcher)
            raise
        self._end(batcher)

    def _run(self, batcher: Batcher) -> None:
        worked = False
        while True:
            with self._changed:
                # Nothing to do, or all rows are held by sequences that are thinking of their next question.
                while not (self._inbox or self._over or worked):
                    self._changed.wait()
                if self._over is not None:
                    return
                arrived, self._inbox = self._inbox, deque()
            for each in arrived:
                if isinstance(each, Job):
                    batcher.add(each)
                else:
                    self._do(each)
            worked = batcher.run()

    def _end(self, batcher: Batcher) -> None:
        """Whoever waits is told; what was to be done between passes is still done."""
        assert self._over is not None
        batcher.end_all(self._over())
        for each in self._inbox:
            if isinstance(each, Job):
                each.done(self._over())
            else:
                self._do(each)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # those that came with it must not be lost over it
            logger.exception("what was to be done between two passes failed")

"""Work shared out to threads that the program does not wait for when it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

__all__ = ["in_threads"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def in_threads(
    tasks: Sequence[_Task], work: Callable[[_Task], _Result], *, threads: int
) -> Generator[tuple[_Task, _Result], None, None]:
    """Each task with its result, as they are done. What `work` raises is raised here; closing the iterator, an
    exception or Ctrl-C begin no further task. A `ThreadPoolExecutor` would keep a program from ending until its last
    task is done."""
    waiting = deque(tasks)
    finished: SimpleQueue[tuple[_Task, _Result] | BaseException] = SimpleQueue()

    def run() -> None:
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            try:
                finished.put((task, work(task)))
            except BaseException as error:
                finished.put(error)

    for _ in range(min(threads, len(tasks))):
        Thread(target=run, name="fintunnel", daemon=True).start()
    try:
        for _ in tasks:
            done = _next(finished)
            if isinstance(done, BaseException):
                raise done
            yield done
    finally:
        waiting.clear()


def _next(queue: SimpleQueue[_Result]) -> _Result:
    """As `queue.get()`, which on Windows no Ctrl-C interrupts."""
    while True:
        try:
            return queue.get(timeout=0.2)
        except Empty:
            pass

"""Signals that end the process in order, so that the programs that it started end with it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["ended_by_signals"]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and Ctrl+Break leave all `with` blocks, as Ctrl+C does, with the shell's exit status; a terminal
    that is closed (SIGHUP) counts as SIGTERM. The system's own way ends the process on the spot; uvicorn, too, sends
    itself the signal once more when it has stopped. A signal that is ignored (nohup) stays so. In the main thread only.
    """
    before = {}
    for name, handler in (("SIGTERM", _exit), ("SIGBREAK", _exit), ("SIGHUP", _terminate)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP, others no SIGBREAK
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, default in before.items():
            signal.signal(number, default)


def _exit(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _terminate(_: int, __: FrameType | None) -> None:
    signal.raise_signal(signal.SIGTERM)  # uvicorn, while it runs, knows that one and ends in order

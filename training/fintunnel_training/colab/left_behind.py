"""Processes of cells that nobody waits for any more: they hold the GPU's memory, and the training's lock."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import psutil

from fintunnel_training.colab.commands import KERNEL_MARK
from fintunnel_training.colab.failure import CellError

__all__ = ["end_left_behind", "serving_processes"]

_END_SECONDS = 240.0  # a training saves a checkpoint and copies it to Drive; a server needs half a minute
_KILLED_SECONDS = 10.0


def end_left_behind() -> None:
    """End commands and servers of this kernel (to be called while none is wanted) and those whose kernel is gone, which
    a restart of the session leaves. Another notebook's are left alone.

    Raises:
        CellError: one cannot be ended.
    """
    left = _marked()
    numbers = {process.pid for process in left}
    for process in [process for process in left if _parent(process) not in numbers]:
        sys.stdout.write(f"停掉上次留下的进程 {process.pid}\n")
        _end(process)  # which ends those that it started
    for process in left:
        _end(process)


def serving_processes() -> list[int]:
    """Servers that a cell of this kernel started, or one that is gone."""
    found = []
    for process in _marked():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "serve" in process.cmdline():
                found.append(process.pid)
    return found


def _marked() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        # It has ended meanwhile, or is another user's.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            kernel = process.environ().get(KERNEL_MARK, "")
            if not kernel or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if int(kernel) == os.getpid() or not _is_alive(int(kernel), since=process.create_time()):
                found.append(process)
    return found


def _parent(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(_END_SECONDS)
            return
        except psutil.TimeoutExpired:
            process.kill()
        try:
            process.wait(_KILLED_SECONDS)
        except psutil.TimeoutExpired:
            raise CellError(
                f"上次留下的进程 {process.pid} 停不掉，还占着显存：请用菜单「断开连接并删除运行时」重来。"
            ) from None


def _is_alive(pid: int, *, since: float) -> bool:
    """`since`: a process that has the number by now but began later is another one."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since)
    except psutil.NoSuchProcess:
        return False

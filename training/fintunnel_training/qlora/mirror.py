"""Copies finished checkpoints to a second place (Google Drive) while training goes on."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path

from fintunnel.terminal_text import system_reason

from fintunnel_training.errors import TrainingError
from fintunnel_training.qlora.checkpoints import Checkpoint, copy_checkpoint, keep_newest

__all__ = ["MIRROR_SECONDS", "Mirror"]

_RETRY_SECONDS = (1.0, 5.0, 15.0, 60.0)  # the last one again and again
MIRROR_SECONDS = 120.0


class Mirror:
    """A thread that copies the newest checkpoint, and tries again where the place is gone for a while.

    A checkpoint that is replaced by a newer one before its turn is skipped. Training never waits for it, except at the
    end, where the last checkpoint gets two minutes.
    """

    def __init__(self, place: Path, retry_seconds: tuple[float, ...] = _RETRY_SECONDS) -> None:
        self.place = place
        self.copying: Path | None = None
        self.copied: list[int] = []
        self.failures = 0
        self._retry_seconds = retry_seconds
        self._next: Checkpoint | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def add(self, checkpoint: Checkpoint) -> None:
        with self._changed:
            self._next = checkpoint
            self._changed.notify()

    def close(self, seconds: float = MIRROR_SECONDS) -> bool:
        """Wait for the last checkpoint's copy; says so and returns False where it did not get there."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            done = not self._thread.is_alive() and self._next is None
        if not done:
            sys.stderr.write(f"注意：最后一个检查点没能复制到 {self.place}，本地的仍然完好。\n")
        return done

    def _run(self) -> None:
        tries = 0
        while True:
            with self._changed:
                while self._next is None and not self._closing:
                    self._changed.wait()
                if self._next is None:
                    return
                checkpoint = self._next
                self.copying = checkpoint.path
            fault = self._copy(checkpoint)
            with self._changed:
                self.copying = None
                if fault is None:
                    tries = 0
                    if self._next is checkpoint:
                        self._next = None
                    continue
                if tries == 0:
                    sys.stderr.write(f"注意：检查点暂时无法复制到 {self.place}（{fault}），训练继续，稍后再试。\n")
                pause = self._retry_seconds[min(tries, len(self._retry_seconds) - 1)]
                tries += 1
                self.failures += 1
                if self._closing and tries > len(self._retry_seconds):
                    return
                self._changed.wait(min(pause, 1.0) if self._closing else pause)

    def _copy(self, checkpoint: Checkpoint) -> str | None:
        """What went wrong, or None. A source that has been removed meanwhile has a newer one behind it."""
        try:
            if not checkpoint.path.is_dir():
                return None
            for old in self.place.glob(".*-checkpoint-*"):  # left by a process that was killed
                if time.time() - old.stat().st_mtime > 60:
                    shutil.rmtree(old, ignore_errors=True)
            copied = copy_checkpoint(checkpoint, self.place)
            keep_newest(self.place, copied.path)
        except (OSError, TrainingError) as error:
            return system_reason(error)
        self.copied.append(checkpoint.step)
        return None

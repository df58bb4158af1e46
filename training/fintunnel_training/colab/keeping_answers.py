"""A comparison's answers, brought to the folder that stays while it runs: a runtime that goes takes its disk along."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.places import copy_file

__all__ = ["KeptAnswers"]

_ANSWERS = "answers.sqlite"  # as `fintunnel compare` calls it; its own module would cost the kernel seconds
_SECONDS = 60.0
_BUSY_SECONDS = 10.0


class KeptAnswers:
    """Copies the answers of `here` to `kept` from time to time, and at the end, however the comparison ended. A copy
    that fails is said and does not end the comparison: the next one may succeed."""

    def __init__(self, here: Path, kept: Path) -> None:
        self._here = here / _ANSWERS
        self._kept = kept / _ANSWERS
        self._last = time.monotonic()

    def keep_now_and_then(self) -> None:
        if time.monotonic() - self._last >= _SECONDS:
            self._keep()
            self._last = time.monotonic()

    def _keep(self) -> None:
        if self._here == self._kept or not self._here.is_file():
            return
        whole = self._here.with_name(f".{_ANSWERS}.keeping")
        try:
            # Not its bytes, which are being written: SQLite's own backup. On the local disk, since Drive seeks slowly.
            whole.unlink(missing_ok=True)
            with (
                closing(sqlite3.connect(self._here, timeout=_BUSY_SECONDS)) as answers,
                closing(sqlite3.connect(whole)) as copy,
            ):
                answers.backup(copy)
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            copy_file(whole, self._kept)
        except (CellError, OSError, sqlite3.Error) as error:
            sys.stdout.write(f"\n[提示] 这次没能把回答存到 {self._kept}：{error}\n")
        finally:
            whole.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keep()

"""A file that is complete under its own name, or leaves what stood there as it was."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["rename", "replacing_file"]


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write under; at the end it takes that name.

    Raises:
        OSError: it cannot be written; the caller knows what to say.
    """
    # One fixed name: what a killed process leaves is removed by the next.
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        yield partial
        rename(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """On Windows a scanner may hold a file or folder that was just written, for a moment.

    Raises:
        OSError: it cannot be renamed.
    """
    for pause in (0.1, 0.3, 0.6, 1.0):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(source, target)

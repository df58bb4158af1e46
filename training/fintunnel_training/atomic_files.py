"""Files and folders that are complete under their own names, or leave what stood there as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fintunnel.atomic_file import rename
from fintunnel.terminal_text import system_reason

from fintunnel_training.errors import DataError

__all__ = ["replace_folder", "replaced_name", "replacing", "restore_folder"]


@contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """The same for several files that belong together: gives a temporary name beside each path.

    Raises:
        DataError: something that is no file stands there, or a file cannot be written.
    """
    partial = {path: path.with_name(f"{path.name}.{os.getpid()}.partial") for path in paths}
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise DataError(f"无法写入 {path}：那里已有一个不是普通文件的东西")
        yield partial
        for path in paths:
            os.replace(partial[path], path)
    except OSError as error:
        raise DataError(f"无法写入 {paths[0]}：{system_reason(error)}") from error
    finally:
        for path in partial.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)


def replace_folder(folder: Path, target: Path) -> None:
    """Move the complete `folder` to `target`; what stood there is removed only after that.

    Raises:
        OSError: it cannot be moved; what stood there stands there again.
    """
    replaced = replaced_name(target)
    try:
        if target.exists():
            rename(target, replaced)
        rename(folder, target)
    finally:
        if not target.exists() and replaced.exists():
            rename(replaced, target)
    shutil.rmtree(replaced, ignore_errors=True)


def replaced_name(target: Path) -> Path:
    """Where `replace_folder` puts what stood at `target` meanwhile; the longest of the names that it needs."""
    return target.with_name(f".{target.name}-replaced-{os.getpid()}")


def restore_folder(target: Path, is_whole: Callable[[Path], bool]) -> None:
    """Tidy up after a process that was killed in `replace_folder`: what stood at `target` is put back if nothing is
    there now, and removed otherwise."""
    for left in target.parent.glob(f".{target.name}-replaced-*"):
        if target.exists():
            shutil.rmtree(left, ignore_errors=True)
        elif is_whole(left):
            left.rename(target)

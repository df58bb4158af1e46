"""Several files that belong together: all complete under their own names, or none of them changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fintunnel_training.errors import DataError

__all__ = ["replacing"]


@contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Gives a temporary name beside each path to write under; at the end they take their names.

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
        raise DataError(f"无法写入 {paths[0]}：{error.strerror}") from error
    finally:
        for path in partial.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)

"""What a person gives as a path or as a base, looked at before anything is done with it."""

from __future__ import annotations

import os
from pathlib import Path

from fintunnel.terminal_text import system_reason

from fintunnel_training.errors import OptionError

__all__ = ["usable_base", "usable_path"]


def usable_path(path: Path, option: str) -> Path:
    """`path` with its links followed; what it leads to need not be there.

    Raises:
        OptionError: nothing could ever be there: a name is too long, links lead in a circle.
    """
    try:
        found = path.resolve()
        os.stat(found)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # told by whoever reads or writes there
    except (OSError, RuntimeError) as error:  # for a circle, Python before 3.13 raises RuntimeError
        reason = system_reason(error) if isinstance(error, OSError) else "链接绕成了圈"
        text = str(path)
        raise OptionError(f"{option} 不能用：{reason}（{text if len(text) <= 60 else text[:60] + '…'}）") from error
    return found


def usable_base(base: str | None) -> str | None:
    """`base` as it was given.

    Raises:
        OptionError: it is empty (a variable that was not set), or no path that could exist.
    """
    if base is None:
        return None
    if not base.strip():
        raise OptionError("--base 是空的。它可以是 embedded、本地目录或模型 ID；不写 --base 就用默认的基座。")
    usable_path(Path(base), "--base")
    return base

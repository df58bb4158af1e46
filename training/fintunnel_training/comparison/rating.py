"""Starts the page on which people compare answers blindly, and waits until they are done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from fintunnel.errors import ConfigurationError
from fintunnel.rating_file import RatingFile, RatingPair

from fintunnel_training.errors import DataError, TrainingError

__all__ = ["check_page", "rate"]

_LEAVE_SECONDS = 15.0


def check_page() -> None:
    """
    Raises:
        ConfigurationError: the page's packages are missing.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise ConfigurationError("--rate 还需要 fastapi", advice='请运行：python -m pip install "fintunnel[gateway]"')


def rate(pairs: Sequence[RatingPair], file: Path, *, port: int | None, browser: bool) -> None:
    """Add the pairs to the file and show the page until Ctrl+C.

    The page belongs to the server's package, which this one does not import: it runs as a process of its own.

    Raises:
        DataError: there is nothing to compare.
        ConfigurationError: the file is of another kind.
        TrainingError: the page ended with an error, which it has told.
    """
    if not pairs:
        raise DataError("没有可评的回答：要有两个系统都写出了文字（--texts 大于 0）")
    with RatingFile(file) as ratings:
        ratings.show_only(pairs)
    # -P: nothing is imported from the folder that happens to be the current one.
    command = [sys.executable, "-P", "-m", "fintunnel_server.rate", str(file), "--until-stdin-closes"]
    command += ["--port", str(port)] if port is not None else []
    command += [] if browser else ["--no-browser"]
    page = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        status = page.wait()
    except KeyboardInterrupt:
        status = _ended(page)  # it got the same Ctrl+C
    except BaseException:
        page.terminate()  # this process alone was told to end
        _ended(page)
        raise
    if status not in (0, 130):
        raise TrainingError("评分页面没有正常结束，原因见上面的输出")


def _ended(page: subprocess.Popen[bytes]) -> int:
    """Its status; it is given time to put away what it keeps."""
    with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        return page.wait(_LEAVE_SECONDS)
    page.kill()
    return page.wait()

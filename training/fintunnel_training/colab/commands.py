"""Commands in a cell: shown as a person would type them, then run with their output as it comes.

IPython's own `!command` gives an interrupted command a few tenths of a second; a training needs longer to save its
checkpoint. Uses the standard library alone: pip runs through here too.
"""

from __future__ import annotations

import codecs
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from fintunnel_training.colab.failure import CellError

__all__ = ["KERNEL_MARK", "run", "run_fintunnel"]

KERNEL_MARK = "FINTUNNEL_NOTEBOOK_KERNEL"
"""in the environment of what cells start: the kernel's process"""

_COLUMNS, _LINES = 110, 40
_LOOK_SECONDS = 1.0
_SAVE_SECONDS = 240.0  # after an interrupt: a step, its checkpoint, and `qlora.mirror.MIRROR_SECONDS` for its copy


def run_fintunnel(
    *arguments: str,
    advice: str,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """`fintunnel …` with the Python of this kernel; see `run`."""
    # -P: nothing is imported from the folder that happens to be the current one.
    command = [sys.executable, "-P", "-m", "fintunnel", *arguments]
    variables = {**(environment or {}), KERNEL_MARK: str(os.getpid())}
    run(command, shown=f"fintunnel {shlex.join(arguments)}", advice=advice, environment=variables, meanwhile=meanwhile)


def run(
    command: Sequence[str],
    *,
    shown: str,
    advice: str,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Run to the end. The cell's stop button interrupts the command, which is given time to tidy up.

    Args:
        shown: the command as it is typed, printed first.
        advice: what to do where it fails, in Chinese.
        environment: variables that it gets besides this process's own; secrets go here, never into `shown`.
        meanwhile: called about once a second.

    Raises:
        CellError: its exit status is not 0.
        KeyboardInterrupt: the cell was stopped; the command has ended.
    """
    _write(f"$ {shown}\n")
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    parts = []
    with _started(command, variables) as (process, output):
        try:
            for text in _read(process, output, meanwhile):
                parts.append(text)
                _write(text)
        except KeyboardInterrupt:
            _interrupt(process, output)
            raise
        status = process.wait()
    if status != 0:
        raise CellError(f"这一步没有成功（退出码 {status}），原因见上面的输出。{advice}", "".join(parts))


@contextmanager
def _started(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process, at a terminal of its own (progress bars, colours), and where its output is read."""
    import termios  # not on Windows, where this module is imported but no notebook runs

    ours, its = os.openpty()
    try:
        termios.tcsetwinsize(its, (_LINES, _COLUMNS))
        attributes = termios.tcgetattr(its)
        attributes[1] &= ~termios.OPOST  # line ends stay "\n"
        termios.tcsetattr(its, termios.TCSANOW, attributes)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=variables, start_new_session=True
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(its)
    try:
        yield process, ours
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait()
        os.close(ours)


def _read(process: subprocess.Popen[bytes], output: int, meanwhile: Callable[[], None] | None) -> Iterator[str]:
    """Texts as they come, until the process has ended; what it may have left behind is not waited for."""
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    looked = time.monotonic()
    while True:
        if select.select([output], [], [], _LOOK_SECONDS)[0]:
            try:
                chunk = os.read(output, 65536)
            except OSError:  # Linux: nobody has the terminal open any more
                chunk = b""
            if not chunk:
                return
            yield decode(chunk)
        elif process.poll() is not None:
            return
        if meanwhile is not None and time.monotonic() - looked >= _LOOK_SECONDS:
            meanwhile()
            looked = time.monotonic()


def _interrupt(process: subprocess.Popen[bytes], output: int) -> None:
    """As Ctrl-C does, once: a second one would cut the saving short."""
    _write("\n正在停止，等它保存 …\n")
    os.killpg(process.pid, signal.SIGINT)
    deadline = time.monotonic() + _SAVE_SECONDS

    def in_time() -> None:
        if time.monotonic() > deadline:
            _kill(process)

    for text in _read(process, output, in_time):
        _write(text)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With what it started: its session is its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()

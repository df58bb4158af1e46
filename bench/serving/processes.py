"""A server as a process of its own: started, waited for, its memory watched, ended by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench.dataset import resident_bytes

__all__ = ["ServerProcess", "StartError"]

_SAMPLED_EVERY_S = 0.5
_STOP_SECONDS = 40.0
_LOG_LINES = 8


class StartError(Exception):
    """A server ended before it was ready, or was not ready in time."""


class ServerProcess:
    """`command` on `port`, its output in `log`. As a context: ready on entry; ended on exit, with all it started."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: str,
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        core: int | None = None,
        patience: float = 900.0,
    ) -> None:
        self.peak_bytes = 0
        self.peak_gpu_bytes = 0
        self._command, self._ready, self._log = command, f"http://127.0.0.1:{port}{ready}", log
        self._environment, self._core, self._patience = environment or {}, core, patience
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **self._environment},
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends its servers
            )
        if self._core is not None:
            os.sched_setaffinity(self.process.pid, {self._core})
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watcher.join()
        self._stop()

    def complaint(self) -> str:
        """The last lines of the log that speak of an error; without such, the last lines."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if "Error" in line]
        return "\n".join((errors or lines)[-_LOG_LINES:])

    def _wait_until_ready(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads back to this machine
        for _ in range(int(self._patience / 0.5)):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
                raise StartError(f"it ended with {self.process.returncode} before it was ready")
            with suppress(urllib.error.URLError, OSError), opener.open(self._ready, timeout=5):
                return
        raise StartError(f"it was not ready in {self._patience:.0f} s")

    def _watch(self) -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            while not self._over.wait(_SAMPLED_EVERY_S):
                self.peak_bytes = max(self.peak_bytes, resident_bytes(process))
                self.peak_gpu_bytes = max(self.peak_gpu_bytes, _gpu_bytes())

    def _stop(self) -> None:
        started = [self.process]
        with suppress(psutil.NoSuchProcess):
            started += psutil.Process(self.process.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        for process in started:  # what did not follow
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait()


def _gpu_bytes() -> int:
    """In use on the first GPU; 0 without one."""
    if shutil.which("nvidia-smi") is None:
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    done = subprocess.run(query, capture_output=True, encoding="utf-8")
    known = done.stdout.strip()  # "[N/A]" where the GPU is divided
    return int(known) * 2**20 if done.returncode == 0 and known.isdigit() else 0

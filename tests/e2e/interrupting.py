"""A long command that a person ends with Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Sequence


def interrupted_after_a_first_answer(command: Sequence[str]) -> tuple[int, str]:
    """Its exit status, and what it told after SIGINT came."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stderr is not None
        said = ""
        deadline = time.monotonic() + 300
        while not re.search(r" [1-9]\d*/\d+ \[", said):  # until the bar shows a first answer
            assert time.monotonic() < deadline and process.poll() is None, said
            said += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=120)
    return process.returncode, rest

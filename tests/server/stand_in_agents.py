"""Puts a stand-in where the tunnel looks for its program, and tells what became of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOKEN = "2stand1nTOKEN_thatMustNotLeak"


class StandIn:
    """`record`: the folder of what the stand-in notes."""

    def __init__(self, script: str, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if sys.platform == "win32":
            pytest.skip("the stand-in agent is a script with a shebang, which Windows cannot start as a program")
        self.record = record
        self.program = record / script.removesuffix("_stand_in.py")
        path = Path(__file__).with_name(script)
        self.program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{path}" "$@"\n', encoding="utf-8")
        self.program.chmod(0o700)
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("STAND_IN_RECORD", str(record))

    def plan(self, *kinds: str) -> None:
        self._monkeypatch.setenv("STAND_IN_PLAN", ";".join(kinds))

    def noted(self, name: str) -> list[Any]:
        file = self.record / name
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    @property
    def starts(self) -> int:
        return len(self.noted("argv"))

    @property
    def pid(self) -> int:
        return int(self.noted("agent")[-1]["pid"])

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def alive(self) -> list[int]:
        """The process ids of those started that still run."""
        return [agent["pid"] for agent in self.noted("agent") if _runs(agent["pid"])]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if sys.platform == "linux":
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return state != "Z"  # ended, and its parent has not asked yet


def ngrok_stand_in(record: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn("ngrok_stand_in.py", record, monkeypatch)
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(stand_in.program))
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)  # where pyngrok would take it up for the command line
    return stand_in


def cloudflared_stand_in(record: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn("cloudflared_stand_in.py", record, monkeypatch)


def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)

"""`fintunnel` in processes forked from one that has torch and trl imported already; POSIX only.

What such a test asks is what a process leaves behind when it ends, and what the next one makes of it: for that a
fork is a process like any other. How a fresh one starts, the other tests of this folder ask.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.e2e.faults import put_in

_IMPORTED = [
    *("trl.trainer.sft_trainer", "peft.optimizers", "bitsandbytes", "transformers.models.llama.modeling_llama"),
    *("transformers.integrations.bitsandbytes", "matplotlib.pyplot", "fintunnel.cli", "fintunnel_training.qlora.cli"),
]


class Ended(NamedTuple):
    status: int
    """of a killed one the signal's number, negative"""
    out: str
    err: str


def run(arguments: list[str], fault: str | None = None) -> Ended:
    """`fintunnel` with these arguments. `fault`: what is to go wrong in it, as `tests.e2e.faults` names it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with tempfile.TemporaryDirectory() as said:
        process = context.Process(target=_run, args=(arguments, fault, Path(said), dict(os.environ), Path.cwd()))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
        assert process.exitcode is not None, "it still runs after five minutes"
        out, err = ((Path(said) / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return Ended(process.exitcode, out, err)


def _run(arguments: list[str], fault: str | None, said: Path, environment: dict[str, str], folder: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in enumerate(("out", "err"), start=1):
        file = os.open(said / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    from fintunnel.cli import main

    if fault is not None:
        put_in(fault)
    main(arguments)

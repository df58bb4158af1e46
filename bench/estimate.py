"""The peak memory that `fintunnel train` prints beforehand, against the one that it measures, over several shapes.

    python -m bench.estimate [--steps 2]

Each shape is a run of its own with the embedded base (NF4 unless it says otherwise), as a person starts it; rows are as
long as the shape allows, but for the last one, whose rows are of the dataset's mixed lengths.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from fintunnel_training.dataset.sources.sample_database import build_sample_database
from fintunnel_training.qlora.evidence import read_training_info

from bench.train import say, write_rows

SHAPES = (
    (1, 256, ""),
    (2, 256, ""),
    (2, 512, ""),
    (1, 1024, ""),
    (4, 512, ""),
    (2, 512, "--quantization none"),
    (2, 512, "--targets attention"),
    (1, 512, "--gradient-checkpointing"),
    (2, 512, "--gradient-checkpointing"),
    (4, 512, "--gradient-checkpointing"),
)
_ONLY_STEPS = "--base embedded --accumulation 1 --eval-rows 0 --no-calibrate --resume never"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as name:
        folder = Path(name)
        say("batch x length                                estimated   measured   error")
        for batch, length, flags in SHAPES:
            write_rows(folder / "i.jsonl", "embedded", length, batch * arguments.steps)
            row(folder, batch, length, flags, arguments.steps)
        build_sample_database(folder / "sample.db")
        command = ["dataset", "build", "--db", str(folder / "sample.db"), "--out", str(folder / "i.jsonl")]
        fintunnel([*command, "--num-samples", "60"])
        row(folder, 2, 768, "--max-steps 12", arguments.steps)


def row(folder: Path, batch: int, length: int, flags: str, steps: int) -> None:
    out = folder / "adapter"
    sizes = f"--batch-size {batch} --max-length {length} --max-steps {steps} {flags}"
    data = ["--data", str(folder / "i.jsonl"), "--out", str(out)]
    fintunnel(["train", *data, *shlex.split(f"{_ONLY_STEPS} {sizes}")])
    info = read_training_info(out)
    assert info is not None
    estimated, measured = info.estimated_gib["peak"], info.peak_memory_gib
    name = f"{batch} x {length} {flags}"
    say(f"{name:44}  {estimated:6.2f} GiB {measured:6.2f} GiB  {100 * (estimated / measured - 1):+5.0f} %")


def fintunnel(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "fintunnel", *arguments], capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise SystemExit(f"fintunnel {arguments[0]} failed: {done.stderr[-3000:]}")


if __name__ == "__main__":
    main()

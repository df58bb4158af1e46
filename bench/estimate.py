"""The peak memory that `fintunnel train` prints beforehand, against the one that it measures, over several shapes.

    python -m bench.estimate [--steps 2]
    python -m bench.estimate --shape deepseek-7b --sizes 2x512 1x1024      on a CUDA GPU, random weights, no download

Each line is a run of its own with the embedded base (NF4 unless it says otherwise), as a person starts it; rows are as
long as the line allows, but for the last one, whose rows are of the dataset's mixed lengths. With a shape, it is the
run of `bench.train`, and what the allocator reserved is shown too.
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

from bench.random_base import SHAPES as BASES
from bench.random_base import random_base
from bench.train import in_process, say, write_rows

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
    parser.add_argument("--steps", type=int, help="default: 2; with a shape 3")
    parser.add_argument("--shape", choices=BASES)
    parser.add_argument("--sizes", nargs="+", default=["4x512", "2x512", "1x1024"], metavar="BATCHxLENGTH")
    parser.add_argument("--random-base", type=Path, metavar="DIR", help="where a shape's base is kept, and found again")
    arguments = parser.parse_args()
    if arguments.shape:
        of_shape(arguments)
        return
    arguments.steps = arguments.steps or 2
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


def of_shape(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as name:
        arguments.folder, arguments.steps = Path(name), arguments.steps or 3
        arguments.random_base = random_base(arguments.shape, arguments.random_base or Path(name) / "base")
        say(f"{arguments.shape}, batch x length   estimated   measured   error   reserved   parts of the estimate")
        for size in arguments.sizes:
            arguments.batch_size, arguments.length = (int(number) for number in size.split("x"))
            rows = arguments.batch_size * arguments.steps
            write_rows(Path(name) / "i.jsonl", str(arguments.random_base), arguments.length, rows)
            found = in_process("fintunnel", arguments)
            estimated, measured = found["estimated_gib"], found["peak_gib"]
            say(
                f"{size:28}  {estimated:6.2f} GiB {measured:6.2f} GiB  {100 * (estimated / measured - 1):+5.0f} %"
                f"  {found['reserved_gib']:6.2f} GiB  {found['estimated_parts']}"
            )


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

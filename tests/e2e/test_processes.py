"""Several processes: `accelerate launch` starts the same command once for each device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import fintunnel

pytestmark = pytest.mark.e2e

# Dropout draws other numbers in each process, so it is left out.
RECIPE = ("--base", "embedded", "--max-steps", "3", "--max-length", "384", "--lora-dropout", "0", "--eval-rows", "0")


def losses(folder: Path) -> list[float]:
    entries = map(json.loads, (folder / "log_history.jsonl").read_text(encoding="utf-8").splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


def test_two_processes_learn_as_one_with_the_same_rows_a_step(instructions: Path, tmp_path: Path) -> None:
    data = ["train", "--data", str(instructions), *RECIPE, "--no-calibrate"]
    one, two = tmp_path / "one", tmp_path / "two"
    done = fintunnel(*data, "--out", str(one), "--batch-size", "2")
    assert done.returncode == 0, done.stderr
    # `--multi_gpu` is what starts several processes; without GPUs they are processes on the CPU.
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "-m",
        "fintunnel",
    ]
    done = subprocess.run(
        [*launch, *data, "--out", str(two), "--batch-size", "1", "--save-steps", "2"],
        capture_output=True, encoding="utf-8", check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (two / "adapter_model.safetensors").is_file() and not (tmp_path / "two-training").exists()
    # bf16 activations: sums taken in another order differ by a few thousandths.
    assert losses(two) == pytest.approx(losses(one), rel=0.02)
    assert done.stdout.count("训练完成") == 1

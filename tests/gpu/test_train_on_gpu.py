"""Training on whatever CUDA GPU there is: a T4's path and that of newer ones, killed runs, full memory."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from fintunnel_training.adapter import ADAPTER_WEIGHTS, file_sha256
from fintunnel_training.base import cuda_capability
from fintunnel_training.qlora.evidence import TrainingInfo, read_training_info
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.process_memory import give_back_memory
from fintunnel_training.qlora.recipe import load_recipe, preset_for
from fintunnel_training.qlora.train import train

from tests.gpu.conftest import Tuned

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

STEPS = {"max_steps": 120, "save_steps": 20, "batch_size": 4, "accumulation": 1, "max_length": 512, "eval_rows": 0}


def test_twenty_steps_without_nan(tuned: Tuned) -> None:
    """In fp16 without bf16, as on a T4; in bf16 without fp16."""
    info = information(tuned.folder)
    losses = [entry["loss"] for entry in history(tuned.folder)]
    assert info.precision == tuned.precision and info.trainable_dtypes == ["torch.float32"]
    assert info.device != "cpu" and info.quantization == "nf4"
    assert len(losses) == 20 and all(map(math.isfinite, losses)) and losses[-1] < losses[0] / 2


def test_a_killed_run_goes_on_as_if_it_had_not_been(instructions: Path, small_base: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(instructions, small_base, whole, **STEPS)
    give_back_memory()
    flags = [word for name, value in STEPS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ["train", "--data", str(instructions), "--base", str(small_base), "--out", str(killed), "--no-calibrate"]
    with (tmp_path / "log.txt").open("w") as log:
        child = subprocess.Popen([sys.executable, "-m", "fintunnel", *command, *flags], stdout=log, stderr=log)
        try:
            wait_for_step(killed, 50, child)
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    assert not killed.exists()
    run(instructions, small_base, killed, **STEPS)
    [event] = information(killed).events
    assert event["event"] == "resumed" and 40 <= event["step"] < 120
    entries = list(zip(history(killed), history(whole), strict=True))
    # The tokens so far say that the rows came in the same order.
    assert all(ours[key] == theirs[key] for ours, theirs in entries for key in ("step", "num_tokens", "learning_rate"))
    gap = max(abs(ours["loss"] - theirs["loss"]) for ours, theirs in entries)
    equal = file_sha256(killed / ADAPTER_WEIGHTS) == file_sha256(whole / ADAPTER_WEIGHTS)
    print(f"resumed at {event['step']}: largest gap of the loss {gap:.2e}; adapter bit-equal: {equal}")  # noqa: T201
    assert gap < 0.02  # a GPU adds in no fixed order


def test_out_of_memory_halves_the_batch_and_goes_on(instructions: Path, small_base: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"max_steps": 4, "max_length": 512, "eval_rows": 0, "gradient_checkpointing": False}
    torch.cuda.reset_peak_memory_stats()
    run(instructions, small_base, tmp_path / "small", **sizes, batch_size=4, accumulation=4)
    enough = torch.cuda.max_memory_reserved()
    give_back_memory()
    failures = torch.cuda.memory_stats()["num_ooms"]
    torch.cuda.set_per_process_memory_fraction(1.1 * enough / torch.cuda.get_device_properties(0).total_memory)
    try:
        run(instructions, small_base, tmp_path / "tuned", **sizes, batch_size=16, accumulation=1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.cuda.memory_stats()["num_ooms"] > failures  # the real thing
    info = information(tmp_path / "tuned")
    assert info.steps == 4 and info.batch_size_at_end <= 8 and info.batch_size_at_end * info.accumulation_at_end == 16
    assert {event["event"] for event in info.events} == {"out_of_memory"}
    # The same rows a step, whatever they are divided into. (Dropout falls otherwise.)
    pairs = zip(history(tmp_path / "tuned"), history(tmp_path / "small"), strict=True)
    assert all(abs(ours["loss"] - theirs["loss"]) < 0.1 for ours, theirs in pairs)


def test_the_estimate_is_not_below_what_was_taken(tuned: Tuned) -> None:
    info = information(tuned.folder)
    print(f"{tuned.precision}: estimated {info.estimated_gib}, measured {info.peak_memory_gib} GiB")  # noqa: T201
    assert info.estimated_gib["peak"] > 0.9 * info.peak_memory_gib


def run(data: Path, base: Path, out: Path, **changes: Any) -> None:
    preset = preset_for(cuda_capability())
    recipe = load_recipe(preset, changes)
    train(TrainOptions(data=data, out=out, base=str(base), recipe=recipe, preset=preset))


def information(folder: Path) -> TrainingInfo:
    info = read_training_info(folder)
    assert info is not None
    return info


def history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log_history.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if "loss" in entry]


def wait_for_step(out: Path, step: int, child: subprocess.Popen[bytes]) -> None:
    log = out.with_name(f"{out.name}-training") / "log_history.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_text(encoding="utf-8").count("grad_norm") >= step):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.005)

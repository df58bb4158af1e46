"""What happens to a run between its steps: killed, asked to stop, out of memory, NaN, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.adapter import file_sha256
from fintunnel_training.qlora.evidence import TrainingInfo
from safetensors.torch import load_file

from tests.e2e.conftest import SHORT_TRAINING, fintunnel

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="ends processes by POSIX signals"),
]

FAULTY = Path(__file__).parent / "faulty_train.py"


def train(data: Path, out: Path, *options: str) -> list[str]:
    return ["train", "--data", str(data), "--base", "embedded", "--out", str(out), *SHORT_TRAINING, *options]


def run_faulty(fault: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FAULTY), *arguments],
        capture_output=True, encoding="utf-8", check=False, env={**os.environ, "FAULT": fault},
    )  # fmt: skip


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fintunnel", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def wait_for_step(out: Path, step: int, child: subprocess.Popen[str]) -> None:
    log = out.with_name(f"{out.name}-training") / "log_history.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_text(encoding="utf-8").count("grad_norm") >= step):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.05)


def losses(folder: Path) -> list[tuple[int, float, float]]:
    text = (folder / "log_history.jsonl").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return [(entry["step"], entry["loss"], entry["num_tokens"]) for entry in entries if "loss" in entry]


def validation_losses(folder: Path) -> list[tuple[int, float]]:
    text = (folder / "log_history.jsonl").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return [(entry["step"], entry["eval_loss"]) for entry in entries if "eval_loss" in entry]


def info_of(folder: Path) -> TrainingInfo:
    return TrainingInfo.model_validate_json((folder / "training_info.json").read_text(encoding="utf-8"))


def test_a_run_stopped_and_killed_ends_as_one_that_was_not(adapter: Path, instructions: Path, tmp_path: Path) -> None:
    out, drive = tmp_path / "tuned", tmp_path / "drive"
    arguments = train(instructions, out, "--save-steps", "2", "--mirror", str(drive))
    child = start(arguments)
    wait_for_step(out, 1, child)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130 and "再次运行同一条命令" in said and "Traceback" not in said
    stopped_at = max(int(path.name[11:]) for path in (tmp_path / "tuned-training" / "checkpoints").iterdir())
    assert 1 <= stopped_at < 6 and not out.exists()

    refused = fintunnel(*arguments, "--learning-rate", "1e-3")
    assert refused.returncode == 2 and "--learning-rate：原来 0.004，现在 0.001" in refused.stderr

    child = start(arguments)
    wait_for_step(out, stopped_at + 2, child)
    child.kill()
    child.communicate()
    for checkpoint in (tmp_path / "tuned-training" / "checkpoints").iterdir():  # only the mirror's are left whole
        (checkpoint / "optimizer.pt").write_bytes(b"half")

    done = fintunnel(*arguments, "--save-steps", "3")  # how often it is saved may change on the way
    assert done.returncode == 0 and "跳过不完整的检查点" in done.stderr and "接着训练" in done.stderr, done.stderr
    assert file_sha256(out / "adapter_model.safetensors") == file_sha256(adapter / "adapter_model.safetensors")
    assert losses(out) == losses(adapter) and [step for step, _, _ in losses(out)] == [1, 2, 3, 4, 5, 6]
    assert validation_losses(out) == validation_losses(adapter) and validation_losses(out)[0][0] == 3
    # One or two: the mirror may not have had the checkpoint that the first resumption led to.
    assert {event["event"] for event in info_of(out).events} == {"resumed"}
    assert list(drive.iterdir()) == [] and not (tmp_path / "tuned-training").exists()

    again = fintunnel(*arguments)
    assert again.returncode == 0 and "已经用同样的数据、基座和参数训练完成" in again.stderr


def test_a_run_killed_after_its_last_step_only_writes_the_adapter(instructions: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    arguments = train(instructions, out, "--early-stopping", "1", "--eval-steps", "2")
    killed = run_faulty("end", arguments)
    assert killed.returncode == -signal.SIGKILL and not out.exists()
    assert "Warning" not in killed.stderr  # an evaluation leaves the layers as training needs them
    history = (tmp_path / "tuned-training" / "log_history.jsonl").read_text(encoding="utf-8")
    [last] = (tmp_path / "tuned-training" / "checkpoints").glob(f"checkpoint-{history.count('grad_norm')}")
    best_weights = load_file(last / "best_adapter.safetensors")
    done = fintunnel(*arguments)
    assert done.returncode == 0, done.stderr
    written = load_file(out / "adapter_model.safetensors")
    for name, weight in best_weights.items():
        assert written[name.replace(".default", "")].equal(weight.bfloat16())
    steps = [step for step, _, _ in losses(out)]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) == history.count("grad_norm")
    best = info_of(out).best
    assert best is not None and f"取验证集上最好的第 {best['step']} 步" in done.stdout


def test_out_of_memory_halves_the_batch_and_goes_on(instructions: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    options = ("--batch-size", "4", "--max-steps", "3", "--eval-rows", "0")
    done = run_faulty("memory:2:2", train(instructions, out, *options))
    assert done.returncode == 0 and "批大小减为 2，累积增为 2" in done.stderr, done.stderr
    info = info_of(out)
    assert info.events == [
        {"event": "out_of_memory", "step": 1, "batch_size": 2, "accumulation": 2},
    ]
    assert (info.batch_size_at_end, info.accumulation_at_end, info.steps) == (2, 2, 3)
    assert [step for step, _, _ in losses(out)] == [1, 2, 3]


def test_what_was_seen_after_the_checkpoint_is_forgotten_with_it(instructions: Path, tmp_path: Path) -> None:
    """Out of memory in an update goes back to the last checkpoint: an evaluation in between is not the one to beat."""
    out = tmp_path / "tuned"
    options = ("--batch-size", "2", "--max-steps", "4", "--eval-steps", "2", "--early-stopping", "1")
    done = run_faulty("update:3", train(instructions, out, *options, "--save-steps", "100"))
    assert done.returncode == 0 and "批大小减为 1" in done.stderr, done.stderr
    assert [step for step, _ in validation_losses(out)] == [2, 4]


def test_when_one_row_is_too_much_it_says_which_knob_to_turn(instructions: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    done = run_faulty("memory:0:2", train(instructions, out))
    assert done.returncode == 1 and "--max-length" in done.stderr and "Traceback" not in done.stderr
    assert not out.exists() and (tmp_path / "tuned-training" / "checkpoints" / "checkpoint-1").is_dir()


def test_a_loss_that_is_no_number_ends_the_run_before_a_checkpoint(instructions: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    done = run_faulty("nan:2", train(instructions, out, "--save-steps", "1"))
    assert done.returncode == 1 and "第 2 步的 loss 变成了 nan" in done.stderr and "第 1 步" in done.stderr
    checkpoints = tmp_path / "tuned-training" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-1"] and not out.exists()


@pytest.mark.parametrize("room", [1_000_000, 10_000_000])  # for no adapter; for an adapter and no optimizer
def test_a_full_disk_is_named_and_leaves_no_half_checkpoint(instructions: Path, tmp_path: Path, room: int) -> None:
    out = tmp_path / "tuned"
    done = run_faulty(f"disk:{room}", train(instructions, out, "--save-steps", "1"))
    assert done.returncode == 1 and "检查点没有写成" in done.stderr and "Traceback" not in done.stderr
    assert not out.exists() and not (tmp_path / "tuned-training").exists()

"""What happens to a run between its steps: killed, asked to stop, out of memory, NaN, a full disk.

None of it depends on how much a base knows: a corner of the embedded one is trained, by the same recipe and trainer.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.adapter import file_sha256
from fintunnel_training.qlora.evidence import TrainingInfo
from safetensors.torch import load_file

from tests.e2e.conftest import SHORT_TRAINING
from tests.e2e.forked import Ended, run

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="ends processes by POSIX signals"),
]


class Train:
    """`fintunnel train` of a few steps on the small base, into a folder of the test's own."""

    def __init__(self, base: Path, data: Path, out: Path) -> None:
        self.out = out
        self.work = out.with_name(f"{out.name}-training")
        self._arguments = ["train", "--data", str(data), "--base", str(base), "--out", str(out), *SHORT_TRAINING]

    def __call__(self, *options: str, fault: str | None = None) -> Ended:
        return run([*self._arguments, *options], fault)

    def checkpoints(self) -> set[str]:
        return {path.name for path in (self.work / "checkpoints").iterdir()}


@pytest.fixture
def train(small_base: Path, instructions: Path, tmp_path: Path) -> Train:
    return Train(small_base, instructions, tmp_path / "tuned")


@pytest.fixture(scope="module")
def undisturbed(small_base: Path, instructions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train = Train(small_base, instructions, tmp_path_factory.mktemp("undisturbed") / "tuned")
    assert train().status == 0
    return train.out


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


def test_a_run_stopped_and_killed_ends_as_one_that_was_not(train: Train, undisturbed: Path, tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    arguments = ("--save-steps", "2", "--mirror", str(drive))
    stopped = train(*arguments, fault=f"signal:{signal.SIGINT}:1")
    assert stopped.status == 130 and "再次运行同一条命令" in stopped.err and "Traceback" not in stopped.err
    assert train.checkpoints() == {"checkpoint-1"} and not train.out.exists()

    refused = train(*arguments, "--learning-rate", "1e-3")
    assert refused.status == 2 and "--learning-rate：原来 0.004，现在 0.001" in refused.err

    killed = train(*arguments, fault=f"signal:{signal.SIGKILL}:4")
    assert killed.status == -signal.SIGKILL and "checkpoint-2" in train.checkpoints()
    for checkpoint in (train.work / "checkpoints").iterdir():  # only the mirror's are left whole
        (checkpoint / "optimizer.pt").write_bytes(b"half")

    done = train(*arguments, "--save-steps", "3")  # how often it is saved may change on the way
    assert done.status == 0 and "跳过不完整的检查点" in done.err and "接着训练" in done.err, done.err
    assert file_sha256(train.out / "adapter_model.safetensors") == file_sha256(
        undisturbed / "adapter_model.safetensors"
    )
    assert losses(train.out) == losses(undisturbed) and [step for step, _, _ in losses(train.out)] == [1, 2, 3, 4, 5, 6]
    assert validation_losses(train.out) == validation_losses(undisturbed)
    assert [step for step, _ in validation_losses(train.out)] == [3, 6]
    # One or two: the mirror may not have had the checkpoint that the first resumption led to.
    assert {event["event"] for event in info_of(train.out).events} == {"resumed"}
    kept = drive / "tuned" / "adapter"
    assert [*drive.iterdir(), *kept.parent.iterdir()] == [kept.parent, kept] and not train.work.exists()

    again = train(*arguments)
    assert again.status == 0 and "已经用同样的数据、基座和参数训练完成" in again.err

    weights = file_sha256(train.out / "adapter_model.safetensors")
    shutil.rmtree(train.out)  # the runtime is lost before anybody fetched it
    back = train(*arguments)
    assert back.status == 0 and "取回了训练好的适配器" in back.err and "接着训练" not in back.err, back.err
    assert file_sha256(train.out / "adapter_model.safetensors") == weights


def test_a_run_killed_after_its_last_step_only_writes_the_adapter(train: Train) -> None:
    # Steps so long that the second evaluation is the worse one.
    arguments = ("--early-stopping", "1", "--eval-steps", "2", "--learning-rate", "1e-1")
    killed = train(*arguments, fault="end")
    assert killed.status == -signal.SIGKILL and not train.out.exists()
    assert "Warning" not in killed.err  # an evaluation leaves the layers as training needs them
    history = (train.work / "log_history.jsonl").read_text(encoding="utf-8")
    [last] = (train.work / "checkpoints").glob(f"checkpoint-{history.count('grad_norm')}")
    best_weights = load_file(last / "best_adapter.safetensors")
    done = train(*arguments)
    assert done.status == 0, done.err
    written = load_file(train.out / "adapter_model.safetensors")
    for name, weight in best_weights.items():
        assert written[name.replace(".default", "")].equal(weight.bfloat16())
    steps = [step for step, _, _ in losses(train.out)]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) == history.count("grad_norm")
    best = info_of(train.out).best
    assert best is not None and f"取验证集上最好的第 {best['step']} 步" in done.out
    assert best["step"] < len(steps)


def test_out_of_memory_halves_the_batch_and_goes_on(train: Train) -> None:
    done = train("--batch-size", "4", "--max-steps", "3", "--eval-rows", "0", fault="memory:2:2")
    assert done.status == 0 and "批大小减为 2，累积增为 2" in done.err, done.err
    info = info_of(train.out)
    assert info.events == [
        {"event": "out_of_memory", "step": 1, "batch_size": 2, "accumulation": 2},
    ]
    assert (info.batch_size_at_end, info.accumulation_at_end, info.steps) == (2, 2, 3)
    assert [step for step, _, _ in losses(train.out)] == [1, 2, 3]


def test_what_was_seen_after_the_checkpoint_is_forgotten_with_it(train: Train) -> None:
    """Out of memory in an update goes back to the last checkpoint: an evaluation in between is not the one to beat."""
    options = ("--batch-size", "2", "--max-steps", "4", "--eval-steps", "2", "--early-stopping", "1")
    done = train(*options, "--save-steps", "100", fault="update:3")
    assert done.status == 0 and "批大小减为 1" in done.err, done.err
    assert [step for step, _ in validation_losses(train.out)] == [2, 4]


def test_when_one_row_is_too_much_it_says_which_knob_to_turn(train: Train) -> None:
    done = train(fault="memory:0:2")
    assert (
        done.status == 1
        and "一条样本也放不进内存。请依次试：调小 --max-length" in done.err
        and "Traceback" not in done.err
    )
    assert not train.out.exists() and train.checkpoints() == {"checkpoint-1"}


def test_a_loss_that_is_no_number_ends_the_run_before_a_checkpoint(train: Train) -> None:
    done = train("--save-steps", "1", fault="nan:2")
    assert done.status == 1 and "第 2 步的 loss 变成了 nan" in done.err and "第 1 步" in done.err
    assert train.checkpoints() == {"checkpoint-1"} and not train.out.exists()


@pytest.mark.parametrize("room", [1_000_000, 6_000_000])  # for no adapter; for an adapter and no optimizer
def test_a_full_disk_is_named_and_leaves_no_half_checkpoint(train: Train, room: int) -> None:
    # The adapter takes 4 MB, the optimizer's states 8 MB.
    done = train("--save-steps", "1", "--lora-r", "512", fault=f"disk:{room}")
    assert done.status == 1 and "检查点没有写成" in done.err and "Traceback" not in done.err
    assert not train.out.exists() and not train.work.exists()

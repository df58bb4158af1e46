"""Several processes: `accelerate launch` starts the same command once for each device."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fintunnel_training.adapter import file_sha256

pytestmark = pytest.mark.e2e

STEPS = 8
RECIPE = (
    *("--max-length", "384", "--learning-rate", "2e-3", "--no-calibrate"),
    *("--eval-rows", "4", "--eval-steps", "3"),
    *("--schedule", "constant", "--warmup-steps", "1"),  # the same however many steps there are
)
OF_TWO = ("--batch-size", "1", "--max-steps", str(STEPS), "--save-steps", "2")
# `--multi_gpu` is what starts several processes; without GPUs they are processes on the CPU.
LAUNCH = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "-m", "fintunnel")


def losses(folder: Path) -> list[tuple[int, float, float]]:
    entries = map(json.loads, (folder / "log_history.jsonl").read_text(encoding="utf-8").splitlines())
    return [(entry["step"], entry["loss"], entry["num_tokens"]) for entry in entries if "loss" in entry]


def validation_losses(folder: Path) -> dict[int, float]:
    entries = map(json.loads, (folder / "log_history.jsonl").read_text(encoding="utf-8").splitlines())
    return {entry["step"]: entry["eval_loss"] for entry in entries if "eval_loss" in entry}


def train(base: Path, data: Path, out: Path, *options: str) -> tuple[str, ...]:
    return ("train", "--base", str(base), "--data", str(data), "--out", str(out), *RECIPE, *options)


def launched(launch: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launch, *arguments],
        capture_output=True, encoding="utf-8", check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(instructions: Path, small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make under the real launcher."""
    out = tmp_path_factory.mktemp("undisturbed") / "two"
    done = launched(LAUNCH, *train(small_base, instructions, out, *OF_TWO))
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "adapter_model.safetensors").is_file() and not out.with_name("two-training").exists()
    assert done.stdout.count("训练完成") == 1 and done.stderr.count("加载基座") == 1
    return out


def test_two_processes_learn_as_one_with_the_same_rows_a_step(
    undisturbed: Path, instructions: Path, small_base: Path, tmp_path: Path
) -> None:
    # Dropout draws other numbers in each process; it does not show in the first steps.
    one, steps = tmp_path / "one", 3
    options = ("--batch-size", "2", "--max-steps", str(steps))
    done = launched((sys.executable, "-m", "fintunnel"), *train(small_base, instructions, one, *options))
    assert done.returncode == 0, done.stderr
    # bf16 activations: sums taken in another order differ by a few ten-thousandths of the loss.
    by_two, by_one = losses(undisturbed), losses(one)
    assert [tokens for _, _, tokens in by_two[:steps]] == [tokens for _, _, tokens in by_one]
    assert [loss for _, loss, _ in by_two[:steps]] == pytest.approx([loss for _, loss, _ in by_one], rel=0.002)
    of_two, of_one = validation_losses(undisturbed), validation_losses(one)
    assert of_two[3] == pytest.approx(of_one[3], rel=0.002) and {3, 6} <= set(of_two) and len(by_two) == STEPS


class Pair:
    """The two processes as a launcher starts them; each one can be signalled, and its end be seen."""

    def __init__(self, *arguments: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "fintunnel", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            )
            for rank in ("0", "1")
        ]

    def send(self, number: signal.Signals, *ranks: int) -> None:
        for rank in ranks:
            self.processes[rank].send_signal(number)

    def ended(self) -> tuple[list[int], list[str]]:
        """Exit statuses, and what each one said."""
        said = [process.communicate(timeout=120)[0] for process in self.processes]
        return [process.returncode for process in self.processes], said

    def wait_for_step(self, work: Path, step: int) -> None:
        log, deadline = work / "log_history.jsonl", time.monotonic() + 120
        while not (log.is_file() and log.read_text(encoding="utf-8").count("grad_norm") >= step):
            assert time.monotonic() < deadline and all(process.poll() is None for process in self.processes)
            time.sleep(0.02)


def newest(work: Path) -> int:
    return max(int(path.name[11:]) for path in (work / "checkpoints").iterdir())


@pytest.mark.thorough  # five launches of two processes: minutes
@pytest.mark.skipif(sys.platform == "win32", reason="ends processes by POSIX signals")
def test_two_processes_stopped_and_killed_end_as_two_that_were_not(
    undisturbed: Path, instructions: Path, small_base: Path, tmp_path: Path
) -> None:
    out, work = tmp_path / "two", tmp_path / "two-training"
    arguments = train(small_base, instructions, out, *OF_TWO)

    pair = Pair(*arguments)
    pair.wait_for_step(work, 1)
    pair.send(signal.SIGINT, 1)  # to one of them, and not the one that writes
    statuses, said = pair.ended()
    assert statuses == [130, 130] and "Traceback" not in "".join(said), said
    stopped_at = newest(work)
    assert f"已在第 {stopped_at} 步保存检查点" in said[0] and "保存检查点" not in said[1]
    sealed = work / "checkpoints" / f"checkpoint-{stopped_at}"
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in sealed.iterdir()}

    pair = Pair(*arguments)
    pair.wait_for_step(work, stopped_at + 1)
    pair.send(signal.SIGTERM, 0, 1)  # as a launcher does that was asked to end
    statuses, said = pair.ended()
    assert statuses == [143, 143] and "Traceback" not in "".join(said), said
    assert f"从第 {stopped_at} 步的检查点接着训练" in said[0] and newest(work) > stopped_at

    pair = Pair(*arguments)
    pair.wait_for_step(work, newest(work) + 1)
    pair.send(signal.SIGKILL, 1)
    statuses, said = pair.ended()
    assert statuses == [1, -signal.SIGKILL] and "Traceback" not in said[0], said
    assert "另一个训练进程已经停止" in said[0] and "最近一个完好的检查点是第" in said[0]

    done = launched(LAUNCH, *arguments)
    assert done.returncode == 0 and "接着训练" in done.stderr, done.stderr[-3000:]
    assert file_sha256(out / "adapter_model.safetensors") == file_sha256(undisturbed / "adapter_model.safetensors")
    assert losses(out) == losses(undisturbed) and not work.exists()


def test_a_mistake_is_told_once_and_ends_both(tmp_path: Path) -> None:
    statuses, said = Pair("train", "--data", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "two")).ended()
    assert statuses == [1, 1] and "无法读取指令集" in said[0] and said[1] == "", said
    assert list(tmp_path.iterdir()) == []

"""Does a run that was killed end as one that was not? Kills at random moments, resumes, compares bit for bit.

    python -m bench.kill_resume [--kills 20] [--seed 0]

Each trial starts the same short training (embedded base, NF4, CPU, a checkpoint every step, a mirror), sends SIGKILL in
the midst of a step, while a checkpoint is being written, or while one is being copied to the mirror, starts the same
command again, and compares adapter file and loss history with those of a run that nobody disturbed. In every other
trial the local checkpoints are damaged before the resumption, so that the mirror has to serve.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fintunnel_training.adapter import file_sha256
from fintunnel_training.dataset.sources.sample_database import build_sample_database

STEPS = 8
RECIPE = (
    *("--base", "embedded", "--max-steps", str(STEPS), "--batch-size", "1", "--max-length", "384"),
    *("--learning-rate", "2e-3", "--eval-rows", "0", "--save-steps", "1", "--no-calibrate"),
)
MOMENTS = ("step", "checkpoint", "mirror")
_PATIENCE = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="fintunnel-kill-") as name:
        folder = Path(name)
        build_sample_database(folder / "sample.db")
        data = folder / "i.jsonl"
        run("dataset", "build", "--db", str(folder / "sample.db"), "--out", str(data), "--num-samples", "60")
        whole = folder / "undisturbed"
        began = time.monotonic()
        run("train", "--data", str(data), "--out", str(whole), *RECIPE)
        say(f"undisturbed: {time.monotonic() - began:.0f} s, {STEPS} steps, a checkpoint after each")
        say("kill  moment      at step  from    adapter    loss history")
        equal = 0
        for number in range(arguments.kills):
            equal += trial(folder / f"t{number}", data, whole, number, rng)
    verdict = "met" if equal == arguments.kills else "NOT met"
    say(f"{equal} of {arguments.kills} resumed runs end bit-equal  (bar: all: {verdict})")


def trial(folder: Path, data: Path, whole: Path, number: int, rng: random.Random) -> bool:
    moment, out, drive = MOMENTS[number % len(MOMENTS)], folder / "tuned", folder / "drive"
    folder.mkdir()
    command = ["train", "--data", str(data), "--out", str(out), "--mirror", str(drive), *RECIPE]
    log = (folder / "log.txt").open("w")
    child = subprocess.Popen([sys.executable, "-m", "fintunnel", *command], stdout=log, stderr=log)
    work, step = folder / "tuned-training", rng.randint(1, STEPS - 1)
    wait(lambda: steps_logged(work) >= step, child)
    if moment == "step":
        time.sleep(rng.uniform(0.0, 1.5))
    elif moment == "checkpoint":
        wait(lambda: any(work.glob("writing/checkpoint-*")), child)
        time.sleep(rng.uniform(0.0, 0.08))
    else:
        wait(lambda: any(drive.glob("tuned/.copying-*")), child)
        time.sleep(rng.uniform(0.0, 0.03))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    log.close()
    killed_at = steps_logged(work)
    source = "local"
    if number % 2 and any(drive.glob("tuned/checkpoint-*")):
        source = "mirror"
        for checkpoint in work.glob("checkpoints/checkpoint-*"):
            (checkpoint / "optimizer.pt").write_bytes(b"half of it")
    run(*command)
    same = file_sha256(out / "adapter_model.safetensors") == file_sha256(whole / "adapter_model.safetensors")
    history = losses(out) == losses(whole)
    say(
        f"{number + 1:4}  {moment:10}  {killed_at:7}  {source:6}  {'equal' if same else 'DIFFERS':9}  "
        f"{'equal' if history else 'DIFFERS'}"
    )
    return same and history


def steps_logged(work: Path) -> int:
    log = work / "log_history.jsonl"
    return log.read_text(encoding="utf-8").count('"grad_norm"') if log.is_file() else 0


def losses(folder: Path) -> list[tuple[int, float, float]]:
    entries = map(json.loads, (folder / "log_history.jsonl").read_text(encoding="utf-8").splitlines())
    return [(entry["step"], entry["loss"], entry["num_tokens"]) for entry in entries if "loss" in entry]


def wait(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition() and child.poll() is None:
        if time.monotonic() > deadline:
            child.kill()
            raise SystemExit("the moment to kill never came")
        time.sleep(0.001)


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "fintunnel", *arguments], capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise SystemExit(f"fintunnel {arguments[0]} failed: {done.stderr[-2000:]}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

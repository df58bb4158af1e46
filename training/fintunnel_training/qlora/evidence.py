"""What a person shows after training: `training_info.json` and the loss curve; and the memory it took."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["TrainingInfo", "log_line", "peak_memory_gib", "plot_loss", "read_training_info", "write_training_info"]


class TrainingInfo(BaseModel):
    """The facts of one run. Times in seconds, memory in GiB (GPU memory on a GPU, else of the process)."""

    model_config = ConfigDict(extra="forbid")

    base: str
    device: str
    quantization: str
    precision: str
    options: dict[str, Any]
    target_modules: list[str]
    samples: int
    samples_shortened: int
    samples_dropped: int
    tokens_per_epoch: int
    trainable_parameters: int
    total_parameters: int
    steps: int
    epochs_done: float
    seconds: float
    first_loss: float
    last_loss: float
    last_eval_loss: float | None
    best: dict[str, Any] | None
    """with early stopping: step and loss of the best evaluation, whose adapter this is"""
    batch_size_at_end: int
    accumulation_at_end: int
    events: list[dict[str, Any]]
    """what happened on the way: resumed, out of memory"""
    trainable_dtypes: list[str]
    estimated_gib: dict[str, float]
    """what was expected beforehand, by part"""
    peak_memory_gib: float
    versions: dict[str, str]
    trainable_share: float = 0.0
    file_bytes: dict[str, int] = {}
    identity: dict[str, Any] = {}
    """what made this adapter: the same again needs no training"""


def write_training_info(folder: Path, info: TrainingInfo) -> None:
    info = info.model_copy(
        update={
            "trainable_share": round(info.trainable_parameters / info.total_parameters, 6),
            "file_bytes": {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file()},
        }
    )
    (folder / "training_info.json").write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")


def log_line(entry: dict[str, Any]) -> str:
    """A log entry as a line of JSON, which knows no NaN: fp16's first gradients may be infinite."""
    known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
    return json.dumps(known) + "\n"


def read_training_info(folder: Path) -> TrainingInfo | None:
    """None where there is none, or one of another version."""
    try:
        return TrainingInfo.model_validate_json((folder / "training_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def plot_loss(log_history: list[dict[str, Any]], path: Path) -> None:
    """Loss by step, its running mean and the evaluations, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    history = [entry for entry in log_history if "loss" in entry]
    evaluations = [entry for entry in log_history if "eval_loss" in entry]
    steps = [entry["step"] for entry in history]
    losses = [entry["loss"] for entry in history]
    window = max(5, len(losses) // 20)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    marker = "o" if len(losses) <= 60 else ""  # where they do not touch; a single step has no line
    axes.plot(steps, losses, color="#9db8d9", linewidth=1, marker=marker, markersize=3, label="loss per step")
    if len(losses) >= 2 * window:  # while it fills, a mean of the past only lags behind
        means = [sum(losses[end - window : end]) / window for end in range(window, len(losses) + 1)]
        axes.plot(steps[window - 1 :], means, color="#1f4e8c", linewidth=2, label=f"mean of the last {window} steps")
    if evaluations:
        axes.plot(
            [entry["step"] for entry in evaluations],
            [entry["eval_loss"] for entry in evaluations],
            color="#c4572e",
            marker="o",
            label="validation",
        )
    axes.set(xlabel="step", ylabel="loss (answers only)", title="Training loss")
    shown = [value for value in (*losses, *(entry["eval_loss"] for entry in evaluations)) if math.isfinite(value)]
    axes.set_ylim(0, 1.1 * max(shown, default=0.0) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, format="png")


def peak_memory_gib(device: str) -> float:
    if device != "cpu":
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / 2**30
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**30
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB

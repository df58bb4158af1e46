"""What an adapter's own files tell of its training, as lines of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fintunnel_training.adapter import ADAPTER_WEIGHTS
from fintunnel_training.calibration.calibration_file import Condition
from fintunnel_training.comparison.report.findings import number_in
from fintunnel_training.comparison.report.number_format import duration, percent, size
from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.result import Training

__all__ = ["CalibrationLine", "TrainingView", "adapter_size", "training_view"]

_FIELDS: dict[str, tuple[str, str]] = {
    "impact": ("影响程度", "Impact"),
    "direction": ("短线方向", "Direction"),
    "priced_in": ("预期兑现", "Priced in"),
    "wait_and_see": ("观望", "Wait and see"),
}
_CONDITIONS: dict[Condition, tuple[str, str]] = {
    "with_context": ("有行情", "with context"),
    "without_context": ("无行情", "without context"),
}
_FIT = ("ece_before", "ece_after", "nll_before", "nll_after", "temperature")


@dataclass(frozen=True)
class CalibrationLine:
    field: str
    condition: str
    rows: str
    ece_before: str
    ece_after: str
    nll_before: str
    nll_after: str
    temperature: str


@dataclass
class TrainingView:
    """`picture`: of the loss curve, by its name among the pictures."""

    system: str
    folder: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    losses: tuple[str, str] | None = None
    events: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    calibration: list[CalibrationLine] = field(default_factory=list)
    picture: str | None = None


def training_view(training: Training, picture: str | None, say: Say) -> TrainingView:
    view = TrainingView(training.system, training.folder, picture=picture)
    info = training.info or {}
    view.facts = [(name, value) for name, value in _facts(training, info, say) if value]
    first, last = number_in(info, "first_loss"), number_in(info, "last_loss")
    if first is not None and last is not None:
        view.losses = (f"{first:.3f}", f"{last:.3f}")
    files = info.get("file_bytes")
    if isinstance(files, dict):
        view.files = [(str(name), size(count)) for name, count in files.items() if isinstance(count, int)]
    events = info.get("events")
    if isinstance(events, list):
        view.events = [", ".join(f"{k}: {v}" for k, v in event.items()) for event in events if isinstance(event, dict)]
    view.calibration = list(_calibration(training.calibration, say))
    return view


def adapter_size(training: Training) -> int:
    """Bytes of the weights; 0 where nobody knows."""
    return training.adapter_bytes or int(number_in(training.info, "file_bytes", ADAPTER_WEIGHTS) or 0)


def _facts(training: Training, info: dict[str, Any], say: Say) -> list[tuple[str, str]]:
    def text(*path: str) -> str:
        found: Any = info
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return "" if found is None or isinstance(found, dict | list) else str(found)

    def count(*path: str) -> str:
        found = number_in(info, *path)
        return "" if found is None else f"{found:,.10g}"

    trainable, share = number_in(info, "trainable_parameters"), number_in(info, "trainable_share")
    parameters = "" if trainable is None else f"{trainable:,.0f}" + (f"（{percent(share)}）" if share else "")
    if say.language == "en":
        parameters = parameters.replace("（", " (").replace("）", ")")
    seconds, memory = number_in(info, "seconds"), number_in(info, "peak_memory_gib")
    evaluated, weights = number_in(info, "last_eval_loss"), adapter_size(training)
    done = count("epochs_done")
    epochs = f"{done}{say('（计划 ', ' (planned ')}{count('options', 'epochs')}{say('）', ')')}" if done else ""
    batch, accumulated = count("batch_size_at_end"), count("accumulation_at_end")
    lora = [count("options", f"lora_{name}") for name in ("r", "alpha", "dropout")]
    return [
        (say("基座模型", "Base model"), text("base")),
        (say("量化", "Quantization"), " · ".join(filter(None, (text("quantization"), text("precision"))))),
        (say("设备", "Device"), text("device")),
        (say("训练的参数（占全部）", "Trained parameters (share)"), parameters),
        (say("全部参数", "All parameters"), count("total_parameters")),
        ("LoRA r / alpha / dropout", _joined(" / ", *lora)),
        (say("轮数", "Epochs"), epochs),
        (say("步数", "Steps"), count("steps")),
        (say("每批行数 × 累积", "Batch size × accumulation"), _joined(" × ", batch, accumulated)),
        (say("学习率", "Learning rate"), count("options", "learning_rate")),
        (say("最大长度（token）", "Max length (tokens)"), count("options", "max_length")),
        (say("训练样本", "Training samples"), count("samples")),
        (say("训练用时（时:分:秒）", "Training time (h:m:s)"), "" if seconds is None else duration(seconds)),
        (say("最后的验证损失", "Last validation loss"), "" if evaluated is None else f"{evaluated:.3f}"),
        (say("内存峰值", "Peak memory"), "" if memory is None else f"{memory:.2f} GiB"),
        (say("适配器权重大小", "Size of the adapter"), size(weights) if weights else ""),
    ]


def _joined(separator: str, *parts: str) -> str:
    return separator.join(part or "–" for part in parts) if any(parts) else ""


def _calibration(calibration: dict[str, Any] | None, say: Say) -> list[CalibrationLine]:
    lines = []
    fields = (calibration or {}).get("fields")
    for name, title in _FIELDS.items():
        for condition, words in _CONDITIONS.items():
            fit = fields.get(name) if isinstance(fields, dict) else None
            numbers = [number_in(fit, condition, key) for key in _FIT]
            if all(found is not None for found in numbers):
                shown = [f"{found:.3f}" for found in numbers]
                rows = number_in(fit, condition, "rows")
                lines.append(CalibrationLine(say(*title), say(*words), "–" if rows is None else f"{rows:.0f}", *shown))
    return lines

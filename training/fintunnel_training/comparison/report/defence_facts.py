"""The run's figures as the defence sheet's answers take them: short, and empty where there is none."""

from __future__ import annotations

from typing import Any

from fintunnel_training.comparison.report.findings import HEADLINES, Findings, number_in
from fintunnel_training.comparison.report.number_format import duration, estimate, percent, size
from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.report.training_view import adapter_size
from fintunnel_training.comparison.report.untrusted import shortened
from fintunnel_training.comparison.result import ComparisonResult, Group, MeasureName, Training

__all__ = ["Facts"]


class Facts:
    """Of the first tuned model, which is the one that a thesis speaks of."""

    def __init__(self, result: ComparisonResult, say: Say) -> None:
        self.result, self.say, self.findings = result, say, Findings(result)
        self.tuned: str | None = next((system.name for system in self.findings.of_kind("tuned")), None)
        self.training: Training | None = next((one for one in result.training if one.system == self.tuned), None)

    def short(self, name: str) -> str:
        return shortened(name, 24)

    def estimate(self, group: Group, name: MeasureName, system: str | None = None) -> str:
        system = system or self.tuned
        found = self.findings.estimate(group, name, system) if system is not None else None
        return "" if found is None or found.value is None else estimate(name, found)

    def shown_of(self, system: str) -> list[str]:
        return [
            f"{self.say.measured(group, name)} {found}"
            for group, name in HEADLINES
            if (found := self.estimate(group, name, system))
        ][:3]

    def before_and_after(self) -> list[str]:
        base = self.findings.base_of(self.tuned) if self.tuned is not None else None
        if base is None or self.tuned is None:
            return []
        lines = []
        for group, name in HEADLINES:
            before, after = (self.findings.value(group, name, system) for system in (base.name, self.tuned))
            if group in ("form", "reports") and before is not None and after is not None:
                lines.append(f"{self.say.measured(group, name)} {before * 100:.0f}% → {after * 100:.0f}%")
        return lines

    # --- the adapter's own evidence -----------------------------------------------------------------------

    def number(self, *path: str) -> float | None:
        return number_in(self.training.info, *path) if self.training is not None else None

    def text(self, key: str) -> str:
        found: Any = (self.training.info or {}).get(key) if self.training is not None else None
        return shortened(found, 40) if isinstance(found, str) else ""

    def training_lines(self) -> list[str]:
        say = self.say
        lines: list[str] = []
        if self.training is None or not self.training.info:
            return lines
        if base := self.text("base"):
            lines.append(say(f"基座 {base}，设备 {self.text('device')}", f"base {base}, device {self.text('device')}"))
        trainable, share = self.number("trainable_parameters"), self.number("trainable_share")
        if trainable is not None and share is not None:
            lines.append(
                say(
                    f"训练 {trainable:,.0f} 个参数（{percent(share)}）",
                    f"{trainable:,.0f} parameters trained ({percent(share)})",
                )
            )
        samples, epochs, steps = (self.number(key) for key in ("samples", "epochs_done", "steps"))
        if samples is not None and epochs is not None and steps is not None:
            lines.append(
                say(
                    f"{samples:,.0f} 条样本，{epochs:g} 轮，{steps:,.0f} 步",
                    f"{samples:,.0f} samples, {epochs:g} epochs, {steps:,.0f} steps",
                )
            )
        seconds, memory = self.number("seconds"), self.number("peak_memory_gib")
        if seconds is not None:
            lines.append(say(f"用时 {duration(seconds)}（时:分:秒）", f"took {duration(seconds)} (h:m:s)"))
        if memory is not None:
            lines.append(say(f"内存（显存）峰值 {memory:.2f} GiB", f"peak memory {memory:.2f} GiB"))
        first, last = self.number("first_loss"), self.number("last_loss")
        if first is not None and last is not None:
            lines.append(say(f"训练损失 {first:.3f} → {last:.3f}", f"training loss {first:.3f} → {last:.3f}"))
        if weights := adapter_size(self.training):
            lines.append(say(f"适配器 {size(weights)}", f"adapter of {size(weights)}"))
        return lines

    def calibration_lines(self) -> list[str]:
        say = self.say
        lines = [
            say(f"{say.field(one.field)} ECE {one.ece:.3f}", f"{say.field(one.field)} ECE {one.ece:.3f}")
            + (
                say(f"（只凭偶然 ≤ {one.chance[1]:.3f}）", f" (chance alone ≤ {one.chance[1]:.3f})")
                if one.chance
                else ""
            )
            for one in self.result.reliability
            if one.system == self.tuned
        ]
        if not lines:
            return [say("概率准不准这次没有测量。", "Calibration was not measured in this run.")]
        return [say("概率的校准误差：", "Calibration error: ") + say.listed(lines) + say("。", ".")]

    def card_number(self, key: str) -> float | None:
        return number_in(self.result.card, key)

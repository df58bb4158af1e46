"""What things are called in the report, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from fintunnel.chinese import LABELS_ZH, SCALES_ZH

from fintunnel_training.comparison.result import FieldName, Group, MeasureName, SystemKind

__all__ = ["GROUPS", "Language", "Say"]

Language = Literal["zh", "en"]

GROUPS: tuple[Group, ...] = get_args(Group)
_GROUPS: dict[Group, tuple[str, str]] = {
    "impact": ("影响程度", "Impact"),
    "direction": ("短线方向", "Direction"),
    "reports": ("财报问答", "Reports"),
    "form": ("文本质量", "Form"),
    "speed": ("速度", "Speed"),
}
_KINDS: dict[SystemKind, tuple[str, str]] = {
    "base": ("微调前", "before tuning"),
    "tuned": ("微调后", "tuned"),
    "hosted": ("云端 API", "hosted API"),
    "baseline": ("基线", "baseline"),
}
_MEASURES: dict[MeasureName, tuple[str, str]] = {
    "macro_f1": ("macro-F1", "macro-F1"),
    "mcc": ("马修斯相关系数 MCC", "Matthews correlation"),
    "accuracy": ("准确率", "Accuracy"),
    "recall_low": ("“低”的召回率", "Recall of “low”"),
    "recall_medium": ("“中”的召回率", "Recall of “medium”"),
    "recall_high": ("“高”的召回率", "Recall of “high”"),
    "recall_bearish": ("“利空”的召回率", "Recall of “bearish”"),
    "recall_neutral": ("“中性”的召回率", "Recall of “neutral”"),
    "recall_bullish": ("“利好”的召回率", "Recall of “bullish”"),
    "auc": ("AUC", "AUC"),
    "brier": ("Brier 分数", "Brier score"),
    "ece": ("校准误差 ECE", "Calibration error (ECE)"),
    "figures_right": ("数字正确率", "Figures right"),
    "citations_right": ("引用正确率", "Citations right"),
    "not_stated_right": ("“资料未提及”判断正确率", "“Not stated” told right"),
    "valid": ("格式合格率", "Valid form"),
    "valid_free": ("自由生成时的格式合格率", "Valid form, unconstrained"),
    "characters": ("平均字数", "Characters"),
    "repetition": ("重复率", "Repetition"),
    "foreign_characters": ("异常字符率", "Foreign characters"),
    "milliseconds": ("每次用时（毫秒）", "Milliseconds per request"),
    "prompt_tokens": ("提示词 token 数", "Prompt tokens"),
    "completion_tokens": ("生成 token 数", "Completion tokens"),
    "requests_per_second": ("每秒请求数", "Requests per second"),
}


class Say:
    """`say("标签", "labels")` is the one of the two that the report is written in."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, chinese: str, english: str) -> str:
        return chinese if self.language == "zh" else english

    def group(self, name: Group) -> str:
        return self(*_GROUPS[name])

    def field(self, name: FieldName) -> str:
        return self.group(name)

    def kind(self, name: SystemKind) -> str:
        return self(*_KINDS[name])

    def measure(self, name: MeasureName) -> str:
        return self(*_MEASURES[name])

    def detailed(self, group: Group, name: MeasureName) -> str:
        """With what it is of, where that is not the same in all groups; for tables under the group's own heading."""
        if name != "auc":
            return self.measure(name)
        if group == "impact":
            return self("AUC（“高”对其余）", "AUC (high against the rest)")
        return self("AUC（各类对其余的平均）", "AUC (mean of each class against the rest)")

    def measured(self, group: Group, name: MeasureName) -> str:
        """With its group where the name alone would not tell, for sentences and pictures."""
        measure = self.measure(name)
        if group in ("form", "speed"):
            return measure
        space = "" if self.language == "zh" and not measure[0].isascii() else " "
        return self.group(group) + self(space, " · ") + measure

    def label(self, name: str) -> str:
        """A class or signal; what is none of them stays as it is."""
        return self(LABELS_ZH.get(name, name), name.replace("_", " "))

    def scale(self, name: str) -> str:
        return self(SCALES_ZH.get(name, name), name)

    def listed(self, parts: Iterable[str]) -> str:
        return self("、", ", ").join(parts)

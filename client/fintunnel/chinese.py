"""What the labels of the contract are called in Chinese: the one place for every text, table and picture."""

from __future__ import annotations

__all__ = ["LABELS_ZH", "SCALES_ZH"]

LABELS_ZH = {
    "low": "低",
    "medium": "中",
    "high": "高",
    "bearish": "利空",
    "neutral": "中性",
    "bullish": "利好",
    "priced_in": "预期兑现",
    "wait_and_see": "观望",
}

# What raters score an answer on.
SCALES_ZH = {
    "wording": "专业措辞",
    "reasoning": "推理",
    "faithfulness": "忠于原文",
    "usefulness": "有用",
}

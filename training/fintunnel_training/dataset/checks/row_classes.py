"""Which classes a row's answer names, whoever wrote it, and how evenly a file holds them."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from fintunnel.wire import DIRECTIONS, IMPACTS

from fintunnel_training.dataset.checks.checked_rows import CheckedRow
from fintunnel_training.dataset.checks.findings import Finding, excerpt

__all__ = ["Balance", "answer_classes", "class_balance", "row_classes", "unbalanced"]

Balance = dict[str, dict[str, dict[str, int]]]  # field → class → split → rows

_FIELDS = {
    "impact": "impact",
    "影响": "impact",
    "影响程度": "impact",
    "direction": "direction",
    "方向": "direction",
    "短线方向": "direction",
    "label": "label",
    "sentiment": "label",
    "标签": "label",
    "情绪": "label",
}
_IMPACT = {"高": "high", "大": "high", "强": "high", "中": "medium", "低": "low", "小": "low", "弱": "low"}
_DIRECTION = {
    "利好": "bullish",
    "利多": "bullish",
    "看涨": "bullish",
    "利空": "bearish",
    "看跌": "bearish",
    "中性": "neutral",
}
_SAYS_IMPACT = re.compile(r"影响(?:程度|力度)?\s*[:：为是]?\s*([高大强中低小弱])(?![\u4e00-\u9fff])")
_SAYS_DIRECTION = re.compile(r"方向\s*[:：为是]\s*(利好|利多|看涨|利空|看跌|中性)")
_SHORT_LABEL = 12  # characters: an answer that is nothing but a class
_FEW = 20  # rows: fewer say nothing about balance
_MOST, _LEAST = 0.8, 0.03


def row_classes(row: CheckedRow) -> dict[str, str]:
    """Field → class, from `meta.labels` of FinTunnel's own rows, else from the answer itself."""
    labels = row.meta.get("labels")
    if row.row.request is not None and isinstance(labels, dict):
        return {name: labels[name] for name in ("impact", "direction") if isinstance(labels.get(name), str)}
    return {} if row.kind else answer_classes(row.row.output)


def answer_classes(output: str) -> dict[str, str]:
    """Field → class as an answer states them: a JSON object's fields, "影响程度：高", or a lone class word."""
    answer = json_answer(output)
    if answer is not None:
        return {
            field: _class(field, value)
            for name, value in answer.items()
            if (field := _FIELDS.get(name.strip().lower())) and isinstance(value, str) and value.strip()
        }
    classes = {}
    if match := _SAYS_IMPACT.search(output):
        classes["impact"] = _IMPACT[match[1]]
    if match := _SAYS_DIRECTION.search(output):
        classes["direction"] = _DIRECTION[match[1]]
    if classes:
        return classes
    short = output.strip().rstrip("。.!！")
    if len(short) <= _SHORT_LABEL and not re.search(r"\d", short):
        return {"direction": _DIRECTION[short]} if short in _DIRECTION else {"label": short}
    directions = {name for word, name in _DIRECTION.items() if word in output}
    return {"direction": directions.pop()} if len(directions) == 1 else {}


def json_answer(output: str) -> dict[str, Any] | None:
    if not output.lstrip().startswith("{"):
        return None
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def class_balance(rows: Sequence[CheckedRow], classes: Sequence[dict[str, str]]) -> Balance:
    """Counts of each class by split. A field that fewer than 20 rows name is left out, and so is one of more than a
    dozen values, which is free text. The classes' names are safe to show on a terminal."""
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row, named in zip(rows, classes, strict=True):
        for field, value in named.items():
            counts[field][value][row.split] += 1
    ours = any(row.row.request is not None for row in rows)
    balance: Balance = {}
    for field, known in (("impact", IMPACTS), ("direction", DIRECTIONS), ("label", ())):
        values = counts.get(field)
        if not values or len(values) > 12 or sum(map(Counter.total, values.values())) < _FEW:
            continue
        # Of our own rows each class is expected; another tool may know fewer.
        order = [*(name for name in known if ours or name in values), *sorted(set(values) - set(known))]
        balance[field] = {excerpt(value): dict(values.get(value, Counter())) for value in order}
    return balance


def unbalanced(balance: Balance, split: str = "train") -> list[Finding]:
    """A finding for each class of the training rows that is nearly everything or nearly absent."""
    findings = []
    for field, values in balance.items():
        total = sum(counts.get(split, 0) for counts in values.values())
        if total < _FEW:
            continue
        for value, counts in values.items():
            count = counts.get(split, 0)
            if _LEAST <= count / total <= _MOST:
                continue
            much = "几乎只有这一类" if count / total > _MOST else "几乎没有这一类"
            advice = "模型会只答多数类。请换分界、换时段，或补充少数类的样本。"
            title = f"类别不平衡：训练集里 {field}={value} {much}"
            findings.append(Finding("class_balance", "警告", title, count, total, advice))
    return findings


def _class(field: str, value: str) -> str:
    value = value.strip()
    if field == "impact":
        return _IMPACT.get(value, value.lower())
    return _DIRECTION.get(value, value.lower() if field == "direction" else value)

"""Does a prompt already tell what happened after publication? By the names of its figures, and by what they separate.

A column that covers the minutes after an event makes any score look good and cannot exist when the model is asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fintunnel_training.dataset.checks.checked_rows import CheckedRow
from fintunnel_training.dataset.checks.findings import Example, Finding, excerpt

__all__ = ["lookahead_column", "lookahead_in_text", "separating_figures"]

# `ret_60`, `return_1d` may be trailing; the databases' own reactions span 5 to 30 minutes.
_W = r"[A-Za-z0-9_]"
_NAME = (
    rf"(?:range_ratio|price_future{_W}*|(?:future|fut|fwd|forward|next|post|after)_{_W}+|{_W}{{1,40}}_(?:future|after)"
    r"|(?:ret|return|delta)(?:_(?:post|after|next|fwd|future))?(?:_?(?:5|10|15|30)(?:m|min)?)?)"
)
_COLUMN = re.compile(_NAME, re.IGNORECASE)
_NUMBER = r"[-+−]?\s*(?:\d|\.\d)[\d.]*%?"
_FIELD = re.compile(rf"(?<![A-Za-z0-9_])({_NAME})[\"']?\s*[=:：＝]\s*[\"']?{_NUMBER}", re.IGNORECASE)
_SPAN = r"(?:\d+|[一二三五十]{1,3})\s*(?:个)?(?:分钟|小时|交易日|天|min|m|h)"
_MEASURE = r"(?:涨跌幅?|收益率?|回报率?|波幅|波动率?|振幅|变动|变化|最高价?|最低价?|收盘价?|价格)"
_CHINESE = re.compile(
    rf"(?:后|未来|随后|之后)\s*(?:的)?{_SPAN}\s*(?:之)?(?:内|间)?(?:的)?[^\d，。；\n]{{0,6}}?(?<!债){_MEASURE}"
    rf"[^\d，。；\n]{{0,3}}?\s*{_NUMBER}"
    rf"|(?:事后|未来)(?:的)?{_MEASURE}\s*[=:：为]?\s*{_NUMBER}"
)
_CONTEXT_PATH = re.compile(r"context|market|feature|input|行情|上下文", re.IGNORECASE)
_LABEL_PATH = re.compile(r"label|target|reaction|标签|answer|output", re.IGNORECASE)

_VALUE = re.compile(r"[-+−]?(?<!\d)(?<!\d\.)\d+(?:\.\d+)?")
_VALUE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*|[\u4e00-\u9fffA-Za-z\d]*[\u4e00-\u9fff])\s*[\"']?\s*[=:：＝]?\s*$")
_LONGEST_NAME = 24
_MIN_ROWS = 50
_MIN_OF_CLASS = 10
_MOST_ROWS = 0.5  # a figure that fewer rows state is part of the news, not a column
SUSPECT_AUC = 0.85
# These follow from the market before publication by definition.
_KNOWN_BEFORE = re.compile(r"预期兑现|观望|priced|wait", re.IGNORECASE)


def lookahead_in_text(text: str) -> str | None:
    """The first name of a figure from after publication, such as `range_ratio=0.0012`."""
    if match := _FIELD.search(text):
        return match[0]
    if match := _CHINESE.search(text):
        return match[0]
    return None


def lookahead_column(raw: dict[str, Any]) -> tuple[str, bool] | None:
    """The path of a column beside the texts whose name says that it covers the time after the event, and whether
    it stands where a model's context stands. What is kept as a label is none."""
    hits = list(_columns(raw, ""))
    return next((hit for hit in hits if hit[1]), hits[0] if hits else None)


def _columns(value: object, path: str, depth: int = 0) -> Iterator[tuple[str, bool]]:
    if not isinstance(value, dict) or depth > 4:
        return
    for key, inner in value.items():
        here = f"{path}.{key}" if path else str(key)
        if here in ("instruction", "input", "output") or _LABEL_PATH.search(str(key)):
            continue
        if _COLUMN.fullmatch(str(key)) and not isinstance(inner, dict | list):
            yield here, bool(_CONTEXT_PATH.search(path))
        yield from _columns(inner, here, depth + 1)


def separating_figures(rows: Sequence[CheckedRow], classes: Sequence[dict[str, str]]) -> list[Finding]:
    """Figures of the inputs that alone tell the class.

    For every figure that most labelled rows state: the area under the ROC curve of its absolute value for one class
    against the rest, and of its value for bullish against bearish. Honest context reaches about 0.65 on impact; at
    `SUSPECT_AUC` a figure is suspected of covering the time after the event. Needs 50 rows and 10 of each side.
    """
    figures = {id(row): _figures(row.row.input) for row, named in zip(rows, classes, strict=True) if named}
    findings: list[Finding] = []
    for field in ("impact", "direction", "label"):
        labelled = [(row, named[field]) for row, named in zip(rows, classes, strict=True) if field in named]
        if len(labelled) < _MIN_ROWS or len({label for _, label in labelled}) > 12:
            continue
        columns: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (row, _) in enumerate(labelled):
            for name, value in figures[id(row)].items():
                columns[name].append((number, value))
        labels = np.array([label for _, label in labelled])
        for name, pairs in columns.items():
            if len(pairs) < max(_MIN_ROWS, _MOST_ROWS * len(labelled)):
                continue
            at = np.array([number for number, _ in pairs])
            best, told = _best_auc(np.array([value for _, value in pairs]), labels[at])
            if best > SUSPECT_AUC:
                examples = [labelled[number][0].example(labelled[number][0].row.input, name) for number in at[:3]]
                findings.append(_suspicion(excerpt(name), best, told, len(pairs), len(rows), examples))
    return findings


def _suspicion(name: str, auc: float, told: str, count: int, total: int, examples: Sequence[Example]) -> Finding:
    title = f"输入里的「{name}」一个数就能分出{told}（AUC {auc:.2f}），疑似消息发布之后的行情"
    advice = f"核对它的时间窗口：发布前的信息 AUC 通常约 0.65，超过 {SUSPECT_AUC} 多半是前视，应从输入里删掉。"
    return Finding("lookahead_statistics", "错误", title, count, total, advice, examples)


def _figures(text: str) -> dict[str, float]:
    """Name → value of the first figure of each name."""
    values: dict[str, float] = {}
    for match in _VALUE.finditer(text):
        before = text[max(0, match.start() - _LONGEST_NAME) : match.start()]
        if (name := _VALUE_NAME.search(before)) and len(match[0]) <= 18:
            values.setdefault(name[1], float(match[0].replace("−", "-")))
    return values


def _best_auc(values: NDArray[np.float64], labels: NDArray[np.str_]) -> tuple[float, str]:
    best = (0.0, "")
    for label in np.unique(labels):
        if not _KNOWN_BEFORE.search(str(label)):
            best = max(best, (_auc(np.abs(values), labels == label), f" {label} 与其他类"))
    sides = np.isin(labels, ("bullish", "bearish"))
    return max(best, (_auc(values[sides], labels[sides] == "bullish"), " bullish 与 bearish"))


def _auc(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """How well one number separates, whichever way it points: 0.5 to 1; 0 where either side has too few rows."""
    count, of_class = len(values), int(positive.sum())
    if min(of_class, count - of_class) < _MIN_OF_CLASS:
        return 0.0
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]  # ties share the middle of their ranks
    auc = (ranks[positive].sum() - of_class * (of_class + 1) / 2) / (of_class * (count - of_class))
    return float(max(auc, 1 - auc))

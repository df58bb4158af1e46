"""Rows that stand twice in a file, and questions that stand on both sides of a split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from fintunnel.wire import NewsRequest

from fintunnel_training.dataset.checks.checked_rows import CheckedRow
from fintunnel_training.dataset.checks.findings import Example, Finding, excerpt, found
from fintunnel_training.dataset.duplicates import cluster_texts, normalised

__all__ = ["copies_across_splits", "repeated_rows"]

_FORM_SHARE = 0.05  # a line that so many rows share but for its numbers is a form, not a text
_MIN_FORM_ROWS = 20
_SHORTEST = 12  # characters: shorter texts resemble each other by chance


def repeated_rows(rows: Sequence[CheckedRow], classes: Sequence[dict[str, str]]) -> list[Finding]:
    """Rows equal to an earlier one of their file (width, case, spaces and punctuation aside), and questions that
    another row of the file answers with another class."""
    first: dict[tuple[str, str], CheckedRow] = {}
    asked: dict[tuple[str, str], tuple[CheckedRow, dict[str, str]]] = {}
    repeated: list[Example] = []
    contrary: list[Example] = []
    for row, named in zip(rows, classes, strict=True):
        question = normalised(row.prompt)
        earlier = first.setdefault((row.split, f"{question}\0{normalised(row.row.output)}"), row)
        if earlier is not row:
            repeated.append(_pair(row, earlier))
            continue
        other, other_named = asked.setdefault((row.split, question), (row, named))
        if any(other_named.get(field, value) != value for field, value in named.items()):
            contrary.append(_pair(row, other))
    total = len(rows)
    return [
        *found("duplicate_rows", "错误", "同一文件里重复的行", "删掉重复的行，每条只留一次。", repeated, total),
        *found("contrary_rows", "警告", "同一个问题，不同的类别", "核对标签：同样的输入只应有一类。", contrary, total),
    ]  # fmt: skip


def copies_across_splits(rows: Sequence[CheckedRow]) -> list[Finding]:
    """Validation and test rows whose question, or nearly their text, an earlier split holds.

    Report questions are written around templates, and calendar entries of one indicator differ in their figures
    alone: of both only exact copies count.
    """
    if len({row.split for row in rows}) < 2:
        return []
    texts = _own_words(rows)
    seen: dict[str, CheckedRow] = {}
    exact: list[Example] = []
    copied: set[int] = set()
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        earlier = seen.setdefault(normalised(text), row)
        if earlier.split != row.split:
            exact.append(_pair(row, earlier))
            copied.add(number)
    advice = "同一条只能放在一个划分里：从验证集或测试集里删掉它们，否则评测分数虚高。"
    near = _near_copies(rows, texts, copied)
    return [
        *found("cross_split_duplicates", "错误", "跨训练/验证/测试重复的问题", advice, exact, len(rows)),
        *found("cross_split_near_duplicates", "警告", "跨训练/验证/测试近似重复的正文", advice, near, len(rows)),
    ]


def _near_copies(rows: Sequence[CheckedRow], texts: Sequence[str], copied: set[int]) -> list[Example]:
    compared = [
        number
        for number, (row, text) in enumerate(zip(rows, texts, strict=True))
        if number not in copied and _is_compared(row, text) and len(text) >= _SHORTEST
    ]
    near: list[Example] = []
    first: dict[int, CheckedRow] = {}
    clusters = cluster_texts([texts[number] for number in compared])
    for number, cluster in zip(compared, clusters, strict=True):
        earlier = first.setdefault(cluster, rows[number])
        if earlier.split != rows[number].split:
            near.append(_pair(rows[number], earlier))
    return near


def _is_compared(row: CheckedRow, text: str) -> bool:
    request = row.row.request
    if request is None:
        return text != row.prompt or not row.row.input.strip()  # an input that is all form has no text of its own
    return isinstance(request, NewsRequest) and request.figures is None


def _own_words(rows: Sequence[CheckedRow]) -> list[str]:
    """Per row what it says itself: the news text of FinTunnel's own rows; elsewhere the input without the lines of
    a form that many rows share, or the instruction where nothing else is left."""
    lines: Counter[str] = Counter()
    for row in rows:
        if row.row.request is None:
            lines.update({_form(line) for line in row.row.input.split("\n")})
    shared = max(_MIN_FORM_ROWS, _FORM_SHARE * len(rows))
    texts = []
    for row in rows:
        request = row.row.request
        if isinstance(request, NewsRequest):
            texts.append(request.text + (request.figures.model_dump_json() if request.figures else ""))
        elif request is not None:
            texts.append(row.row.input)
        else:
            own = [line for line in row.row.input.split("\n") if lines[_form(line)] < shared]
            texts.append("\n".join(own).strip() or row.prompt)
    return texts


def _form(line: str) -> str:
    return re.sub(r"[-+−]?\d+(?:\.\d+)?", "#", line.strip())


def _pair(row: CheckedRow, earlier: CheckedRow) -> Example:
    place = f"第 {earlier.line} 行" if earlier.file == row.file else f"{earlier.file} 第 {earlier.line} 行"
    return Example(row.file, row.line, f"同{place}：{excerpt(row.row.input or row.row.instruction)}")

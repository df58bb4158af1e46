"""FinTunnel's own rows say in `meta` what they were made from: does the row still say the same?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fintunnel.prompt import BEIJING, render_prompt
from fintunnel.wire import NewsRequest

from fintunnel_training.dataset.checks.checked_rows import CheckedRow
from fintunnel_training.dataset.checks.findings import Example, Finding, found
from fintunnel_training.dataset.checks.row_classes import answer_classes, json_answer
from fintunnel_training.instructions import SPLITS

__all__ = ["own_rows"]

_REBUILD = "重新运行 fintunnel dataset build；要改内容请改数据库，不要改这些行。"


def own_rows(rows: Sequence[CheckedRow]) -> list[Finding]:
    """Rows whose prompt is not what `meta.request` renders to (so something was added, or the row is stale), whose
    answer contradicts `meta.labels`, or that stand in a file of another split or time."""
    altered: list[Example] = []
    relabelled: list[Example] = []
    misplaced: list[Example] = []
    ours = [row for row in rows if row.row.request is not None]
    for row in ours:
        if difference := _rendered_otherwise(row):
            altered.append(row.example(row.prompt, difference))
        if wrong := _contradiction(row):
            relabelled.append(row.example(f"{wrong}：{row.row.output}"))
        if row.meta.get("split", row.split) != row.split:
            misplaced.append(row.example(f"meta.split 是 {row.meta['split']}：{row.row.input}"))
    overlap = _out_of_time(ours)
    total = len(rows)
    return [
        *found("altered_prompt", "错误", "问题和 meta.request 不一致（被改动或已过时）", _REBUILD, altered, total),
        *found("altered_labels", "错误", "答案里的标签和 meta.labels 不一致", _REBUILD, relabelled, total),
        *found("wrong_split", "错误", "行属于另一个划分", "把它放回原来的文件，或" + _REBUILD, misplaced, total),
        *found(
            "splits_overlap", "错误", "早于前一个划分的最后一条消息", "划分必须按时间先后：" + _REBUILD, overlap, total
        ),
    ]


def _rendered_otherwise(row: CheckedRow) -> str:
    """Where the row's prompt leaves the rendered one (a few characters of it), empty where they agree."""
    if row.row.request is None:
        return ""
    expected = "\n".join(render_prompt(row.row.request, row.row.style, row.row.horizon_min))
    if expected == row.prompt:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(expected, row.prompt, strict=False)) if a != b), len(expected))
    return row.prompt[at : at + 20] or row.prompt[-20:]


def _contradiction(row: CheckedRow) -> str:
    labels = row.meta.get("labels")
    if not isinstance(labels, dict) or row.row.style == "market_prose":
        return ""
    named = answer_classes(row.row.output)
    for field in ("impact", "direction"):
        if labels.get(field) != named.get(field):
            return f"{field} 标的是 {labels.get(field)}，答的是 {named.get(field)}"
    if row.row.style == "json":
        answer = json_answer(row.row.output) or {}
        if answer.get("signals") != labels.get("signals"):
            return "signals 与标签不同"
    return ""


def _out_of_time(rows: Sequence[CheckedRow]) -> list[Example]:
    """Rows published before the last row of an earlier split."""
    examples = []
    for split in SPLITS[1:]:
        earlier = [at for row in rows if _before(row.split, split) and (at := _published(row)) is not None]
        if not earlier:
            continue
        last = max(earlier)
        for row in rows:
            if row.split == split and (at := _published(row)) is not None and at <= last:
                examples.append(row.example(f"{at:%Y-%m-%d %H:%M} ≤ {last:%Y-%m-%d %H:%M}：{row.row.input}"))
    return examples


def _before(split: str, other: str) -> bool:
    return SPLITS.index(split) < SPLITS.index(other)


def _published(row: CheckedRow) -> datetime | None:
    request = row.row.request
    if not isinstance(request, NewsRequest) or request.published_at is None:
        return None
    at = request.published_at
    return at.astimezone(BEIJING) if at.tzinfo is not None else at.replace(tzinfo=BEIJING)

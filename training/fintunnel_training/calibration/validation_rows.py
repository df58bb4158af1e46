"""The validation file's news rows with their labels. No other file will do: a training file is balanced, so what is
fitted on it would expect classes as often as nobody meets them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.wire import Direction, Edges, Impact, NewsRequest, Signals
from pydantic import BaseModel, ValidationError

from fintunnel_training.dataset.sources.records import BEIJING
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import card_path, parse_row, read_objects, split_paths

__all__ = ["ValidationFile", "ValidationRow", "read_validation", "select", "validation_path"]

_SUFFIX = ".val.jsonl"


class _Labels(BaseModel):
    impact: Impact
    direction: Direction
    signals: Signals | None


@dataclass(frozen=True)
class ValidationRow:
    """A request as it was known then (with `context` or without), and what followed. `at` bears a zone."""

    request: NewsRequest
    at: datetime
    impact: Impact
    direction: Direction
    signals: Signals | None
    horizon_min: int

    @property
    def beijing_day(self) -> int:
        return self.at.astimezone(BEIJING).toordinal()


@dataclass(frozen=True)
class ValidationFile:
    """`edges`: what the labels mean, from the card beside the file; None where there is none."""

    path: Path
    sha256: str
    rows: list[ValidationRow]
    edges: Edges | None


def validation_path(data: Path) -> Path:
    """`X.jsonl` → `X.val.jsonl`; a validation file is itself."""
    return data if data.name.endswith(_SUFFIX) else split_paths(data)["val"]


def read_validation(path: Path) -> ValidationFile:
    """Read a validation file: its news rows, asked in JSON style, in order of time.

    Raises:
        DataError: no such file; a row that is of another split, lacks its labels, or is not FinTunnel's (with its
            number); a card of another file.
    """
    raw, objects = read_objects(path, "验证集", "它由 fintunnel dataset build 写在训练集旁边。")
    parsed = [_validation_row(row, where) for where, row in objects]
    rows = sorted((row for row in parsed if row is not None), key=lambda row: row.at)
    sha256 = hashlib.sha256(raw).hexdigest()
    return ValidationFile(path, sha256, rows, _card_edges(path, sha256))


def select(rows: list[ValidationRow], count: int | None) -> list[ValidationRow]:
    """`count` rows spread evenly over the time of all; all where there are no more, or None is asked for."""
    if count is None or count >= len(rows):
        return rows
    return [rows[number * len(rows) // count] for number in range(count)]


def _validation_row(row: dict[str, Any], where: str) -> ValidationRow | None:
    """None for a row that has no labels to learn from: a report question, a prose answer."""
    meta = row.get("meta")
    if not isinstance(meta, dict) or "split" not in meta:
        raise DataError(f"{where}没有 meta.split：校准需要 fintunnel dataset build 写出的验证集")
    if meta["split"] != "val":
        raise DataError(
            f"{where}属于 {meta['split']!r}，不是验证集。训练集按类别均衡过，测试集留作最后的评测，都不能用来校准。"
        )
    instruction = parse_row(row, where)
    request = instruction.request
    if request is None:
        raise DataError(f"{where}没有 meta.request：校准需要 fintunnel dataset build 写出的验证集")
    if not isinstance(request, NewsRequest) or instruction.style != "json":
        return None
    try:
        labels = _Labels.model_validate(meta.get("labels"))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(["meta.labels", *(str(part) for part in first["loc"])])
        raise DataError(f"{where}的标签缺失或无效：{name} {rule_in_chinese(first)}") from error
    if (labels.signals is None) != (request.context is None):
        raise DataError(f"{where}的 meta.labels.signals 与 meta.request.context 不一致：有上下文才有信号")
    at = request.published_at
    if at is None:
        raise DataError(f"{where}没有 meta.request.published_at，无法按天交叉验证")
    if at.tzinfo is None:
        at = at.replace(tzinfo=BEIJING)
    return ValidationRow(request, at, labels.impact, labels.direction, labels.signals, instruction.horizon_min)


def _card_edges(path: Path, sha256: str) -> Edges | None:
    if not path.name.endswith(_SUFFIX):
        return None  # nobody knows which data it belongs to
    card_file = card_path(path.with_name(path.name.removesuffix(_SUFFIX) + ".jsonl"))
    if not card_file.is_file():
        return None
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        listed, edges = card["files_sha256"].values(), Edges.model_validate(card["edges"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"数据卡 {card_file} 损坏：{error}。请重新运行 fintunnel dataset build。") from error
    if sha256 not in listed:
        raise DataError(f"数据卡 {card_file} 写的不是 {path.name}（内容已改动）。请重新运行 fintunnel dataset build。")
    return edges

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.calibration.validation_rows import read_validation, select, validation_path
from fintunnel_training.errors import DataError

from tests.training.calibration_rows import EDGES, write_rows


def test_rows_are_read_with_their_labels_in_order_of_time(tmp_path: Path) -> None:
    def swap(number: int, one: dict[str, Any]) -> None:
        if number == 0:
            one["meta"]["request"]["published_at"] = "2025-12-01T00:30:00"  # no zone: Beijing

    validation = read_validation(validation_path(write_rows(tmp_path, 5, swap)))
    assert [one.request.text for one in validation.rows] == [f"第{n}条消息" for n in (1, 2, 3, 4, 0)]
    assert validation.rows[0].signals is not None and validation.rows[0].impact == "high"
    assert validation.rows[-1].signals is None and validation.rows[-1].impact == "low"
    assert validation.rows[-1].beijing_day == datetime(2025, 12, 1).toordinal()
    assert read_validation(tmp_path / "i.val.jsonl") == validation


def test_days_are_beijings(tmp_path: Path) -> None:
    def late(_: int, one: dict[str, Any]) -> None:
        one["meta"]["request"]["published_at"] = "2025-09-01T16:00:00+00:00"

    assert (
        read_validation(validation_path(write_rows(tmp_path, 1, late))).rows[0].beijing_day
        == datetime(2025, 9, 2).toordinal()
    )


def test_prose_and_report_rows_are_left_out(tmp_path: Path) -> None:
    def other(number: int, one: dict[str, Any]) -> None:
        if number == 1:
            one["meta"]["style"] = "news_prose"
        if number == 2:
            passages = [{"text": "营收1亿元", "source": "年报"}]
            one["meta"]["request"] = {"task": "report", "question": "营收？", "passages": passages}
            del one["meta"]["labels"]

    assert len(read_validation(validation_path(write_rows(tmp_path, 5, other))).rows) == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("split",), "train", "第 2 行属于 'train'，不是验证集"),
        (("split",), "test", "第 2 行属于 'test'，不是验证集"),
        (("labels",), None, "第 2 行的标签缺失或无效：meta.labels"),
        (("labels", "direction"), "up", "第 2 行的标签缺失或无效：meta.labels.direction"),
        (("labels", "signals"), None, "第 2 行的 meta.labels.signals 与 meta.request.context 不一致"),
        (("request", "published_at"), None, "第 2 行没有 meta.request.published_at"),
        (("request", "text"), "", "第 2 行的 meta.request 无效"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, path: tuple[str, ...], value: object, message: str) -> None:
    def change(number: int, one: dict[str, Any]) -> None:
        if number == 1:
            inner = one["meta"]
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = value

    with pytest.raises(DataError, match=message):
        read_validation(validation_path(write_rows(tmp_path, 3, change)))


def test_a_file_of_another_tool_is_refused(tmp_path: Path) -> None:
    def strip(_: int, one: dict[str, Any]) -> None:
        del one["meta"]

    with pytest.raises(DataError, match="第 1 行没有 meta.split"):
        read_validation(validation_path(write_rows(tmp_path, 3, strip)))


def test_a_missing_validation_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"无法读取验证集 .*i\.val\.jsonl"):
        read_validation(validation_path(tmp_path / "i.jsonl"))


def test_a_card_of_other_files_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path, 3)
    card = {"files_sha256": {"train": "0"}, "edges": EDGES.model_dump()}
    (tmp_path / "i.card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(DataError, match="内容已改动"):
        read_validation(validation_path(data))


def test_selected_rows_are_spread_over_time(tmp_path: Path) -> None:
    rows = read_validation(validation_path(write_rows(tmp_path, 10))).rows
    assert [rows.index(one) for one in select(rows, 4)] == [0, 2, 5, 7]
    assert select(rows, None) == select(rows, 10) == select(rows, 99) == rows

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import read_instructions

GOOD = json.dumps({"instruction": "分析", "input": "金价走高", "output": "利好"}, ensure_ascii=False)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_anybodys_rows_are_read(tmp_path: Path) -> None:
    no_input = json.dumps({"instruction": "分析", "output": "利好", "meta": {"source": "别处"}})
    data = read_instructions(write(tmp_path / "x.jsonl", "\ufeff" + GOOD, "", no_input))
    assert [row.input for row in data.rows] == ["金价走高", ""]
    assert all(row.request is None for row in data.rows) and data.edges is None


def test_a_line_separator_inside_a_string_does_not_end_a_row(tmp_path: Path) -> None:
    row = json.dumps({"instruction": "a", "input": "b\u2028c", "output": "d"}, ensure_ascii=False)
    assert read_instructions(write(tmp_path / "x.jsonl", row)).rows[0].input == "b\u2028c"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "第 2 行不是 JSON"),
        ("[1]", "第 2 行应是一个 JSON 对象"),
        ('{"instruction": "a", "input": "b"}', "第 2 行缺少文本字段 output"),
        ('{"instruction": "a", "input": 5, "output": "c"}', "第 2 行缺少文本字段 input"),
        ('{"instruction": "a", "input": "b", "output": " "}', "第 2 行的 output 是空的"),
        ('{"instruction": "a", "output": "c", "meta": {"prompt_version": 1, "request": {}}}', "第 2 行的 meta.request"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_instructions(write(tmp_path / "x.jsonl", GOOD, line))


def test_other_encodings_empty_and_missing_files_are_errors(tmp_path: Path) -> None:
    gbk = tmp_path / "gbk.jsonl"
    gbk.write_bytes(GOOD.encode() + b"\n" + GOOD.encode("gbk"))
    with pytest.raises(DataError, match="第 2 行不是 UTF-8"):
        read_instructions(gbk)
    with pytest.raises(DataError, match="SQLite 数据库.*fintunnel dataset build --db"):
        read_instructions(write(tmp_path / "news.db", "SQLite format 3\0"))
    with pytest.raises(DataError, match="没有任何一行"):
        read_instructions(write(tmp_path / "empty.jsonl", ""))
    with pytest.raises(DataError, match="无法读取指令集 .*：没有这个文件"):
        read_instructions(tmp_path / "none.jsonl")


def test_rows_of_another_prompt_version_are_refused(tmp_path: Path) -> None:
    row = '{"instruction": "a", "output": "c", "meta": {"prompt_version": 99, "request": {}}}'
    with pytest.raises(DataError, match="提示词版本是 99"):
        read_instructions(write(tmp_path / "x.jsonl", row))


def test_a_card_of_other_rows_is_refused(tmp_path: Path) -> None:
    card = {"files_sha256": {"x.jsonl": "of the rows before they were edited"}, "edges": {}, "periods_utc": {}}
    (tmp_path / "x.card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(DataError, match="内容已改动"):
        read_instructions(write(tmp_path / "x.jsonl", GOOD))


def test_a_damaged_card_is_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "x.card.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="数据卡"):
        read_instructions(write(tmp_path / "x.jsonl", GOOD))

"""Files and lines that `dataset check` cannot read, and a terminal that they cannot steer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dataset.check_runs import Row, findings, foreign, run, write


def test_malformed_lines_are_counted_by_number_and_do_not_end_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gbk = json.dumps(foreign(99), ensure_ascii=False).encode("gbk")
    rows: list[Row | str | bytes] = [foreign(0), '{"instruction": ', foreign(1)]
    rows += [gbk, foreign(2), foreign(3, output=5), foreign(4)]
    status, found = findings(capsys, write(tmp_path / "a.jsonl", *rows))
    assert status == 1 and set(found) == {"malformed"}
    examples = found["malformed"]["examples"]
    assert found["malformed"]["count"] == 3 and [example["line"] for example in examples] == [2, 4, 6]
    assert all(word in example["excerpt"] for word, example in zip(("JSON", "UTF-8", "output"), examples, strict=True))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("[1, 2]", "应是一个 JSON 对象"),
        (foreign(1, output=" "), "output 是空的"),
        (foreign(1, instruction="", input=" "), "都是空的"),
        (foreign(1, input="a\0b"), "NUL"),
        (foreign(1, input="\ud800"), "半个代理对"),
        (foreign(1, meta={"prompt_version": 99, "request": {}}), "提示词版本"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: Row | str, reason: str
) -> None:
    _, found = findings(capsys, write(tmp_path / "a.jsonl", foreign(0), row))
    assert reason in found["malformed"]["examples"][0]["excerpt"]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]},
        {"messages": [{"role": "user", "content": "问"}]},
        {"prompt": "问", "completion": "答"},
    ],
)
def test_conversations_are_named_with_the_way_to_convert_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: Row
) -> None:
    status, found = findings(capsys, write(tmp_path / "a.jsonl", row, row))
    assert status == 1 and set(found) == {"other_format"} and found["other_format"]["count"] == 2
    assert "instruction" in found["other_format"]["advice"]


@pytest.mark.parametrize(
    ("content", "reason", "status"),
    [
        ("", "没有任何一行", 1),
        (json.dumps([foreign(1), foreign(2)], indent=1), "JSON 数组", 1),
        ("SQLite format 3\0", "是 SQLite 数据库，不是 JSONL。请先用它建指令集：fintunnel dataset build --db", 1),
        (None, "没有这个文件", 2),
    ],
)
def test_files_that_are_no_jsonl_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, reason: str, status: int
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    ended, _, err = run(capsys, str(path))
    assert ended == status and err.startswith("[错误]") and reason in err and "a.json" in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_and_one_file_named_twice_are_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, str(tmp_path))
    assert status == 2 and "文件夹" in err
    path = write(tmp_path / "a.jsonl", foreign(1))
    status, _, err = run(capsys, str(path), "--val", str(path))
    assert status == 2 and "同一个文件" in err


def test_an_unknown_base_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", foreign(1))
    status, _, err = run(capsys, str(path), "--base", "./nowhere")
    assert status == 1 and "找不到基座模型" in err and len(err.strip().splitlines()) == 1


def test_text_from_rows_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202e[bold]涨9.87%"
    labelled = [foreign(n, output=json.dumps({"label": evil[:-5]})) for n in range(2, 30)]
    path = write(tmp_path / "a.jsonl", foreign(1, output=evil), "{" + evil, *labelled)
    for arguments in ((), ("--json",)):
        _, out, _ = run(capsys, str(path), *arguments)
        assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
        assert "[bold]" in out and "几乎只有这一类" in out


def test_the_table_fits_eighty_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.cells import cell_len

    _, out, _ = run(capsys, str(write(tmp_path / "a.jsonl", foreign(1, output="涨9.87%" * 40), "{", foreign(2))))
    table = [line for line in out.splitlines() if line.startswith(("│", "┃"))]
    assert table and all(cell_len(line) <= 80 for line in table)

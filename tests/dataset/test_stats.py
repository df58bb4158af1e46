"""`dataset stats`: what it counts, and what it says where it cannot count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fintunnel_training.dataset.looking.looked import read_splits
from fintunnel_training.dataset.looking.stats import describe, unnatural_training
from rich.cells import cell_len

from tests.dataset.look_runs import news, run, tokenizer_folder, write

_PNG = b"\x89PNG\r\n\x1a\n"


def test_stats_counts_rows_labels_context_and_months_per_split(data: Path) -> None:
    figures = describe(read_splits(data))
    assert figures["rows"] == {"train": 31, "val": 10, "test": 5} and figures["events"]["train"] == 30
    assert figures["mix"]["market"] == {"market_prose": {"train": 1, "val": 0, "test": 0}}
    train = figures["labels"]["train"]
    assert train["impact"] == {"low": 11, "medium": 10, "high": 10} and train["balance"]["impact"] == 1.1
    assert (train["with_context"], train["without_context"]) == (1, 30)
    assert train["rows_with_signals"] == 1 and train["signals"] == {"priced_in": 1, "wait_and_see": 0}
    assert figures["labels"]["val"]["balance"]["impact"] is None  # a class that is not there has no ratio
    assert figures["months"] == {
        "2025-08": {"train": 29, "val": 0, "test": 0},
        "2025-09": {"train": 2, "val": 10, "test": 5},
    }


def test_stats_prints_tables_of_80_columns_and_names_each_picture(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tokenizer_folder(tmp_path / "base")
    out, _ = run(capsys, "stats", str(data), "--base", str(base), "--out", str(tmp_path / "p" / "q"))
    tables = [line for line in out.splitlines() if not line.startswith("图片：")]
    assert all(cell_len(line) <= 80 for line in tables) and "\x1b" not in out
    for word in ("市场分析", "训练集", "利空", "预期兑现", "最多/最少", "2025-09", "超过 512", "合计"):
        assert word in out
    names = ["labels_over_time.png", "token_lengths.png", "mix.png", "surprise_vs_reaction.png"]
    assert [line for line in out.splitlines() if line.startswith("图片：")] == [
        f"图片：{tmp_path / 'p' / 'q' / name}" for name in names
    ]
    assert sorted(path.name for path in (tmp_path / "p" / "q").iterdir()) == sorted(names)  # nothing half-written
    assert all((tmp_path / "p" / "q" / name).read_bytes().startswith(_PNG) for name in names)


def test_tokens_are_those_of_the_conversation_with_its_end(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tokenizer_folder(tmp_path / "base")
    out, _ = run(capsys, "stats", str(data), "--base", str(base), "--json")
    figures = json.loads(out)
    row = json.loads(data.read_text(encoding="utf-8").splitlines()[-1])
    letters = len("u") + len(row["instruction"]) + 1 + len(row["input"]) + len("a") + len(row["output"]) + 1
    assert figures["lengths"]["tokens"]["market"]["longest"] == letters
    assert figures["lengths"]["characters"]["market"]["longest"] == letters - 3
    assert [Path(path).is_file() for path in figures["plots"]] == [True] * 4
    assert Path(figures["plots"][0]).parent == data.with_suffix(".stats")


def test_without_a_tokenizer_lengths_are_in_characters_and_it_says_so(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)  # the embedded base's package is not there
    out, _ = run(capsys, "stats", str(data))
    assert "长度按字计" in out and "长度（token" not in out and "character_lengths.png" in out


def test_a_base_that_cannot_be_had_is_an_error_when_it_was_asked_for(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = run(capsys, "stats", str(data), "--base", "no/such/base", status=1)
    assert "[错误] 找不到基座模型：no/such/base" in err


def test_rows_of_other_tools_are_counted_with_what_they_have(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "stats", str(foreign), "--base", str(tokenizer_folder(foreign.parent / "base")))
    assert "读不懂的行" in out and "\x1b" not in out and "[red]a\\x1b[1m" in out
    assert "没有带时间和标签的行" in out and "没有 meta.reaction" in out
    assert sorted(path.name for path in foreign.with_suffix(".stats").iterdir()) == ["mix.png", "token_lengths.png"]


@pytest.mark.parametrize(
    ("content", "message", "status"),
    [(None, "没有这个文件", 2), ("", "没有任何一行", 1), ("x\n{}\n", "2 行都不是", 1)],
)
def test_a_file_without_rows_is_one_line_of_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str, status: int
) -> None:
    path = tmp_path / "y.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    for command in ("stats", "preview"):
        out, err = run(capsys, command, str(path), status=status)
        assert not out and err.startswith("[错误] ") and message in err and err.count("\n") == 1
    assert not path.with_suffix(".stats").exists()


def test_an_empty_evaluation_split_is_no_error(data: Path) -> None:
    data.with_suffix(".test.jsonl").write_text("", encoding="utf-8")
    assert describe(read_splits(data))["rows"] == {"train": 31, "val": 10, "test": 0}


def test_a_split_can_be_looked_at_by_itself(data: Path) -> None:
    assert describe(read_splits(data.with_suffix(".val.jsonl")))["rows"] == {"val": 10}


def test_balanced_or_drawn_training_rows_are_never_called_natural(data: Path) -> None:
    card = data.with_suffix(".card.json")
    for content, expected in (
        ('{"balance": "both"}', "balanced"),
        ('{"balance": "none", "events": {"train": 99}}', "sampled"),
        ('{"balance": "none", "events": {"train": 30}}', "sampled"),  # one event stands in two rows
        ("broken", "sampled"),
    ):
        card.write_text(content, encoding="utf-8")
        assert unnatural_training(read_splits(data)) == expected
    write(data, [news(n) for n in range(30)])
    assert unnatural_training(read_splits(data)) is None

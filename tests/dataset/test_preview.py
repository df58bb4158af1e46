"""`dataset preview`: rows as a person reads them, and nothing in them that a terminal obeys."""

from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.dataset.looking.looked import read_rows
from fintunnel_training.dataset.looking.preview import choose
from fintunnel_training.dataset.looking.terminal_text import visible, wrap
from rich.cells import cell_len
from rich.text import Text

from tests.dataset.look_runs import run, tokenizer_folder


def test_preview_shows_the_first_rows_with_labels_in_chinese(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "preview", str(data), "-n", "2")
    assert "第 1 / 31 行" in out and "第 2 / 31 行" in out and "第 3 / 31 行" not in out and not err
    assert "影响 低  方向 中性  信号 预期兑现" in out and "影响 中  方向 利好  信号 无行情" in out
    assert "消息：第0条自拟消息" in out and "事件 e0" in out and "自拟的理由" in out
    assert {cell_len(line) for line in out.splitlines()} == {80} and "\x1b" not in out


def test_preview_by_kind_split_and_seed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "第 31 / 31 行" in run(capsys, "preview", str(data), "--kind", "market")[0]
    assert "x.val.jsonl" in run(capsys, "preview", str(data), "--split", "val", "-n", "1")[0]
    first, again, other = (run(capsys, "preview", str(data), "--seed", seed)[0] for seed in ("1", "1", "2"))
    assert first == again != other
    _, err = run(capsys, "preview", str(data), "--split", "val", "--kind", "report", status=2)
    assert "没有“财报问答”类型的行（有：新闻 10 行）" in err
    data.with_suffix(".val.jsonl").unlink()
    assert "旁边没有这个划分" in run(capsys, "preview", str(data), "--split", "val", status=2)[1]


def test_more_rows_than_there_are_is_all_of_them(data: Path) -> None:
    rows, _ = read_rows(data)
    assert len(choose(rows, 1000)) == len(choose(rows, 1000, seed=1)) == 31


def test_preview_counts_tokens_with_a_base(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tokenizer_folder(tmp_path / "base")
    assert "token " in run(capsys, "preview", str(data), "-n", "1", "--base", str(base))[0]


@pytest.mark.parametrize("switch", ["colour", "--no-color", "NO_COLOR"])
def test_text_of_rows_is_never_obeyed_by_the_terminal(
    foreign: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if switch == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    out, err = run(capsys, "preview", str(foreign), *([switch] if switch == "--no-color" else []))
    assert ("\x1b[" in out) == (switch == "colour")
    assert "\x1b]" not in out and "\x9b" not in out and "\x07" not in out and "\x1b[2J" not in out
    for text in ("[red]句子[/red]", "\\x1b[31m", "\\x9b2J你好\\x07:smile:", "a \\x1b]0;t\\x07"):
        assert text in out
    assert "另有 3 行" in err


def test_chinese_wraps_at_the_width_and_never_begins_a_line_with_a_closing_mark() -> None:
    text = "金价在数据公布之前已经上涨了不少，市场普遍预期《会议纪要》偏鸽。XAUUSD 3,345.10 to go, 结束（完）" * 3
    for width in (10, 21, 40):
        lines = wrap(Text(text), width).plain.split("\n")
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert not any(line.startswith(tuple("，。》）")) for line in lines)
        assert any("3,345.10" in line for line in lines)
    assert wrap(Text("字" * 10), 8).plain == "字字字字\n字字字字\n字字"


def test_invisible_and_control_characters_are_spelled_out() -> None:
    assert visible("a\x00\x1b\x7f\x9f\u202e\u200b\ufeff\r") == "a\\x00\\x1b\\x7f\\x9f\\u202e\\u200b\\ufeff\\x0d"
    assert visible("一\t二\r\n三\u3000四") == "一    二\n三\u3000四"
    assert visible("长" * 5000).endswith("…（还有 1,000 字）")

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fintunnel.cli import main
from fintunnel_training.errors import OptionError
from fintunnel_training.option_paths import usable_base, usable_path

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    return tmp_path / "one"


def test_what_is_not_there_yet_is_usable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "a" / "b", tmp_path / "file" / "below", tmp_path):
        assert usable_path(path, "--out") == path.resolve()


@needs_links
def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert usable_path(tmp_path / "link" / "x", "--out") == (tmp_path / "real" / "x").resolve()


@needs_links
def test_a_circle_of_links_is_refused(circle: Path) -> None:
    for path in (circle, circle / "below"):
        with pytest.raises(OptionError, match="--out 不能用：链接绕成了圈"):
            usable_path(path, "--out")


@pytest.mark.parametrize("base", ["", "  "])
def test_an_empty_base_is_not_taken_for_none(base: str) -> None:
    with pytest.raises(OptionError, match="--base 是空的"):
        usable_base(base)


@pytest.mark.parametrize("base", [None, "embedded", "some/base", "./folder"])
def test_a_base_stays_as_it_is_given(base: str | None) -> None:
    assert usable_base(base) == base


LONG = "x" * 300


@needs_links
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[(option, "circle") for option in ("--out", "--data", "--mirror")],
        *[(option, LONG) for option in ("--out", "--data", "--mirror", "--base")],
        ("--out", "x" * 245),  # long enough for itself, too long for what stands beside it for a moment
        ("--base", ""),
    ],
)
def test_train_refuses_in_one_line(
    circle: Path, option: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(circle.parent)
    (circle.parent / "i.jsonl").write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    given = {"--data": "i.jsonl", "--out": "tuned", "--base": "embedded"}
    given[option] = str(circle) if value == "circle" else value
    with pytest.raises(SystemExit) as caught:
        main(["train", *[word for pair in given.items() for word in pair]])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.count("\n") == 1 and option in said and len(said) < 250, said
    assert sorted(os.listdir()) == ["i.jsonl", "one", "two"]


def test_a_mirror_on_a_drive_that_is_not_mounted_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made as a folder of this disk it would be lost with the runtime, and nobody would know."""
    monkeypatch.chdir(tmp_path)
    Path("i.jsonl").write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["train", "--data", "i.jsonl", "--out", "tuned", "--base", "embedded", "--mirror", "drive/MyDrive/x"])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.count("\n") == 1 and "请先挂载" in said
    assert os.listdir() == ["i.jsonl"]


@pytest.mark.parametrize("arguments", [["export", "--merged", "m"], ["calibrate", "--data", "i.jsonl"]])
def test_other_commands_refuse_an_empty_base_too(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--adapter", "none", "--base", ""])
    assert caught.value.code == 2 and "--base 是空的" in capsys.readouterr().err

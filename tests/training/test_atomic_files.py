from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel.atomic_file import replacing_file
from fintunnel_training.atomic_files import replace_folder, replaced_name, restore_folder


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text, encoding="utf-8")
    return path


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing_file(path) as partial:
        partial.write_text("new", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "new" and names(tmp_path) == ["file"]


def test_a_file_that_was_not_completed_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), replacing_file(path) as partial:
        partial.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old" and names(tmp_path) == ["file"]


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    old, new = folder(tmp_path / "target", "old"), folder(tmp_path / "new", "new")
    (old / "left over").touch()
    replace_folder(new, old)
    assert names(tmp_path) == ["target"] and names(old) == ["file"]
    assert (old / "file").read_text(encoding="utf-8") == "new"


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path) -> None:
    old = folder(tmp_path / "target", "old")
    with pytest.raises(OSError):
        replace_folder(tmp_path / "none", old)
    assert names(tmp_path) == ["target"] and (old / "file").read_text(encoding="utf-8") == "old"


def test_what_a_killed_process_had_moved_away_is_put_back_or_removed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    folder(replaced_name(target), "old")
    restore_folder(target, lambda left: not (left / "file").is_file())
    assert not target.exists()  # not whole: nobody's
    restore_folder(target, lambda left: (left / "file").is_file())
    assert names(tmp_path) == ["target"]
    folder(replaced_name(target), "older")
    restore_folder(target, lambda _: True)
    assert names(tmp_path) == ["target"] and (target / "file").read_text(encoding="utf-8") == "old"

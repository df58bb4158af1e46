from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.errors import OptionError, TrainingError
from fintunnel_training.qlora.checkpoints import (
    copy_checkpoint,
    find_checkpoints,
    keep_newest,
    seal,
)
from fintunnel_training.qlora.run_folder import check_mirror, differences, open_run_folder

from tests.training.sealed_checkpoints import FILES, IDENTITY, record, sealed, write


def test_a_sealed_checkpoint_is_found_newest_first(tmp_path: Path) -> None:
    for step in (20, 9, 100):
        sealed(tmp_path, step)
    found, faults = find_checkpoints(tmp_path / "checkpoints")
    assert [checkpoint.step for checkpoint in found] == [100, 20, 9] and faults == []


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_that_lacks_a_file_is_never_sealed(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "writing" / "checkpoint-5")
    (folder / name).unlink()
    with pytest.raises(TrainingError, match="没有写全"):
        seal(folder, tmp_path / "checkpoints", record(5))
    assert find_checkpoints(tmp_path / "checkpoints") == ([], [])


@pytest.mark.parametrize("name", [*FILES, "checkpoint.json"])
@pytest.mark.parametrize("fault", ["missing", "truncated", "altered"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, name: str, fault: str) -> None:
    sealed(tmp_path, 1)
    file = sealed(tmp_path, 2).path / name
    content = file.read_bytes()
    if fault == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if fault == "truncated" else b"x" * len(content))
    found, faults = find_checkpoints(tmp_path / "checkpoints")
    assert [checkpoint.step for checkpoint in found] == [1]
    assert len(faults) == 1 and "checkpoint-2" in faults[0] and name in faults[0]


def test_a_record_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    checkpoint = sealed(tmp_path, 1)
    raw = json.loads((checkpoint.path / "checkpoint.json").read_text(encoding="utf-8"))
    raw["files"] = {"../../elsewhere": "0"}
    (checkpoint.path / "checkpoint.json").write_text(json.dumps(raw), encoding="utf-8")
    assert find_checkpoints(tmp_path / "checkpoints")[0] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": 1_000_000}, "步数不符"),
        ({"batch_size": 0}, "无法读取"),
        ({"seconds": -1.0}, "无法读取"),
        ({"files": {}}, "没有列出"),
    ],
)
def test_a_record_that_cannot_be_is_passed_over(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    checkpoint = sealed(tmp_path, 4)
    raw = json.loads((checkpoint.path / "checkpoint.json").read_text(encoding="utf-8"))
    (checkpoint.path / "checkpoint.json").write_text(json.dumps(raw | changes), encoding="utf-8")
    found, faults = find_checkpoints(tmp_path / "checkpoints")
    assert found == [] and said in faults[0]


def test_two_are_kept(tmp_path: Path) -> None:
    for age, step in enumerate((1, 2, 3, 10)):
        written = sealed(tmp_path, step).path / "checkpoint.json"
        os.utime(written, (1000 + age, 1000 + age))
    keep_newest(tmp_path / "checkpoints", tmp_path / "checkpoints" / "checkpoint-1")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        *("checkpoint-1", "checkpoint-3", "checkpoint-10"),
    }


def test_the_one_just_written_outlives_damaged_ones_with_higher_numbers(tmp_path: Path) -> None:
    for step in (8, 10):
        (sealed(tmp_path, step).path / "optimizer.pt").write_bytes(b"half")
    now = sealed(tmp_path, 6)
    keep_newest(tmp_path / "checkpoints", now.path)
    assert [checkpoint.step for checkpoint in find_checkpoints(tmp_path / "checkpoints")[0]] == [6]


def test_a_copy_is_compared_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = sealed(tmp_path, 1)

    def cut(source: Path, target: Path) -> None:  # a drive that drops half of what is written
        target.write_bytes(source.read_bytes()[:50])

    monkeypatch.setattr(shutil, "copyfile", cut)
    with pytest.raises(TrainingError, match="不完整"):
        copy_checkpoint(checkpoint, tmp_path / "drive")
    assert list((tmp_path / "drive").iterdir()) == []
    monkeypatch.undo()
    assert copy_checkpoint(checkpoint, tmp_path / "drive").record == checkpoint.record
    assert [found.step for found in find_checkpoints(tmp_path / "drive")[0]] == [1]


# --- which checkpoint a run goes on from ------------------------------------------------------------


def test_the_newest_whole_one_of_either_place_is_taken(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    with open_run_folder(tmp_path / "adapter") as run:
        seal(write(run.writing / "checkpoint-4", 4), run.checkpoints, record(4))
        newer = sealed(tmp_path / "other", 8)
        copy_checkpoint(newer, drive)
        start, faults = run.start_from(IDENTITY, drive)
        assert start is not None and start.path == run.checkpoints / "checkpoint-8" and faults == []
        assert (start.path / "optimizer.pt").read_bytes() == (newer.path / "optimizer.pt").read_bytes()
        (drive / "checkpoint-8" / "optimizer.pt").write_bytes(b"half")
        (start.path / "scheduler.pt").unlink()
        start, faults = run.start_from(IDENTITY, drive)
        assert start is not None and start.step == 4 and len(faults) == 2


def test_another_runs_checkpoints_are_refused_with_what_differs(tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "adapter") as run:
        seal(write(run.writing / "checkpoint-4", 4), run.checkpoints, record(4))
        changed = IDENTITY | {"recipe": {"learning_rate": 0.002, "seed": 42}}
        with pytest.raises(OptionError, match="--learning-rate：原来 0.001，现在 0.002"):
            run.start_from(changed, None)
        with pytest.raises(OptionError, match="训练数据：原来 d，现在 e"):
            run.start_from(IDENTITY | {"data_sha256": "e"}, None)
        assert run.has_checkpoints


def test_differences_name_only_what_differs() -> None:
    assert differences(IDENTITY, IDENTITY) == []
    assert differences({"base": "a" * 64}, {"base": "b" * 64}) == [f"基座：原来 {'a' * 12}…，现在 {'b' * 12}…"]


# --- the run folder ---------------------------------------------------------------------------------


def test_a_run_folder_goes_unless_it_holds_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_run_folder(tmp_path / "adapter"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), open_run_folder(tmp_path / "adapter") as run:
        seal(write(run.writing / "checkpoint-4", 4), run.checkpoints, record(4))
        raise KeyboardInterrupt
    with open_run_folder(tmp_path / "adapter") as run:
        assert run.has_checkpoints


def test_a_viewer_that_holds_the_curve_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows what is open cannot be removed; the folder stays, and is known again."""
    plain = Path.unlink

    def held(path: Path, missing_ok: bool = False) -> None:
        if path.name == "loss_curve.png":
            raise PermissionError(13, "in use")
        plain(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    with open_run_folder(tmp_path / "adapter") as run:
        (run.path / "loss_curve.png").write_bytes(b"png")
    assert (run.path / "loss_curve.png").is_file()
    monkeypatch.undo()
    with open_run_folder(tmp_path / "adapter"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_finished_adapter_that_could_not_be_put_in_place_is_kept(tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "adapter") as run:
        run.adapter.mkdir()
        (run.adapter / "manifest.json").write_text("{}", encoding="utf-8")
    with open_run_folder(tmp_path / "adapter") as run:
        assert (run.adapter / "manifest.json").is_file()


def test_forgetting_clears_both_places(tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "adapter") as run:
        checkpoint = seal(write(run.writing / "checkpoint-4", 4), run.checkpoints, record(4))
        copy_checkpoint(checkpoint, tmp_path / "drive")
        other = sealed(tmp_path / "other", 7, identity={"data_sha256": "other"})
        copy_checkpoint(other, tmp_path / "drive")
        (tmp_path / "drive" / "thesis.docx").write_bytes(b"years of work")
        run.forget_checkpoints(tmp_path / "drive", IDENTITY)
        assert {path.name for path in (tmp_path / "drive").iterdir()} == {"checkpoint-7", "thesis.docx"}
        shutil.rmtree(tmp_path / "drive")
        assert run.start_from(IDENTITY, tmp_path / "drive") == (None, [])


def test_two_cannot_train_in_one_folder(tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "adapter"):
        with pytest.raises(TrainingError, match="另一个训练"), open_run_folder(tmp_path / "adapter"):
            pass
        assert (tmp_path / "adapter-training").is_dir()


def test_folders_of_ones_own_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter-training").mkdir()
    (tmp_path / "adapter-training" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(TrainingError, match="不是本程序的训练目录"), open_run_folder(tmp_path / "adapter"):
        pass
    assert (tmp_path / "adapter-training" / "mine.txt").is_file()


def test_an_adapter_folder_with_files_of_ones_own_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    out.mkdir()
    (out / "adapter_config.json").write_text("{}", encoding="utf-8")
    (out / "manifest.json").write_text('{"files": {"adapter_config.json": "0"}}', encoding="utf-8")
    with open_run_folder(out):
        pass
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(TrainingError, match="不是本程序写的 notes.txt"), open_run_folder(out):
        pass


@pytest.mark.parametrize("mirror", ["adapter", "adapter/m", "adapter-training", "adapter-training/x", "."])
def test_a_mirror_in_what_is_replaced_is_refused(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(OptionError, match="重叠"):
        check_mirror(tmp_path / mirror, tmp_path / "adapter")
    check_mirror(tmp_path / "drive" / "adapter", tmp_path / "adapter")


def test_an_adapter_that_was_being_replaced_when_the_process_died_is_back(tmp_path: Path) -> None:
    old = tmp_path / ".adapter-replaced-123"
    old.mkdir()
    for name in ("manifest.json", "adapter_config.json"):
        (old / name).write_text("{}", encoding="utf-8")
    with open_run_folder(tmp_path / "adapter"):
        pass
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {"manifest.json", "adapter_config.json"}

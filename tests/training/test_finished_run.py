"""A finished adapter's copy in the mirror: whole, or not taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from fintunnel_training.adapter import file_sha256
from fintunnel_training.qlora.finished_run import copy_to_mirror, place_finished_adapter
from fintunnel_training.qlora.run_folder import RunFolder

from tests.training.finished_adapter import bare_adapter, trained_adapter

IDENTITY = {"data_sha256": "d", "base": "b"}


def test_an_adapter_of_before_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    mirror = tmp_path / "drive" / "tuned"
    mirror.parent.mkdir()
    mirror.mkdir()
    bare_adapter(mirror / "adapter")
    (mirror / ".adapter-copying").mkdir()  # by a process that was killed
    new = trained_adapter(tmp_path / "new")
    assert copy_to_mirror(new, mirror)
    assert [path.name for path in mirror.iterdir()] == ["adapter"]
    assert file_sha256(mirror / "adapter" / "training_info.json") == file_sha256(new / "training_info.json")


def test_a_drive_that_is_gone_is_said_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not copy_to_mirror(trained_adapter(tmp_path / "new"), tmp_path / "drive" / "tuned")
    assert "没能复制到" in capsys.readouterr().err and not (tmp_path / "drive").exists()


@pytest.mark.parametrize("fault", [None, "damaged", "of another run"])
def test_it_is_fetched_back_if_it_is_this_runs_and_whole(tmp_path: Path, fault: str | None) -> None:
    out, mirror = tmp_path / "work" / "tuned", tmp_path / "drive"
    out.parent.mkdir()
    kept = trained_adapter(mirror / "adapter", identity=IDENTITY)
    if fault == "damaged":
        (kept / "adapter_model.safetensors").write_bytes(b"half")
    identity = {**IDENTITY, "data_sha256": "other"} if fault == "of another run" else IDENTITY
    assert place_finished_adapter(RunFolder(out), out, identity, mirror) == (fault is None)
    assert (out / "manifest.json").is_file() == (fault is None)
    assert kept.is_dir()

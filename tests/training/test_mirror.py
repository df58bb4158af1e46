from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.qlora.checkpoints import (
    copy_checkpoint,
    find_checkpoints,
)
from fintunnel_training.qlora.mirror import Mirror

from tests.training.sealed_checkpoints import sealed


def test_a_new_runs_checkpoint_stays_in_a_mirror_that_holds_an_older_runs(tmp_path: Path) -> None:
    for step in (475, 500):
        copy_checkpoint(sealed(tmp_path / "old", step), tmp_path / "drive")
    mirror = Mirror(tmp_path / "drive")
    mirror.add(sealed(tmp_path, 25))
    assert mirror.close()
    assert 25 in [checkpoint.step for checkpoint in find_checkpoints(tmp_path / "drive")[0]]


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_mirror_holds_the_two_newest(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "drive")
    for step in (1, 2, 3):
        mirror.add(sealed(tmp_path, step))
        wait_for(lambda step=step: step in mirror.copied)
    assert mirror.close()
    assert [found.step for found in find_checkpoints(tmp_path / "drive")[0]] == [3, 2]
    assert {path.name for path in (tmp_path / "drive").iterdir()} == {"checkpoint-2", "checkpoint-3"}


def test_a_mirror_that_vanishes_for_a_while_gets_the_newest_when_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = tmp_path / "mount" / "drive"
    mirror = Mirror(drive, retry_seconds=(0.05,))
    mirror.add(sealed(tmp_path, 1))
    wait_for(lambda: mirror.failures >= 2)
    mirror.add(sealed(tmp_path, 2))
    assert not (tmp_path / "mount").exists()  # a drive that is not mounted must not become a folder of this disk
    (tmp_path / "mount").mkdir()
    wait_for(lambda: mirror.copied == [2])
    assert mirror.close()
    assert capsys.readouterr().err.count("暂时无法复制") == 1


def test_a_mirror_that_stays_away_does_not_hold_up_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mount").write_text("not mounted", encoding="utf-8")
    mirror = Mirror(tmp_path / "mount" / "drive", retry_seconds=(0.05, 0.05))
    mirror.add(sealed(tmp_path, 1))
    began = time.monotonic()
    assert not mirror.close(seconds=5.0) and time.monotonic() - began < 4.0
    assert "没能复制" in capsys.readouterr().err


def test_training_does_not_wait_for_a_slow_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda a, b: (slow.wait(10), copy(a, b)))
    mirror = Mirror(tmp_path / "drive")
    began = time.monotonic()
    for step in (1, 2, 3):
        mirror.add(sealed(tmp_path, step))
    assert time.monotonic() - began < 2.0
    slow.set()
    assert mirror.close()
    assert mirror.copied[-1] == 3 and 2 not in mirror.copied

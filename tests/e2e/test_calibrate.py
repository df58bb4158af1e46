"""From the trained adapter to `calibration.json`: its own real server, a few real validation rows."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from fintunnel_training.adapter import read_adapter
from fintunnel_training.calibration.calibrate import calibrate_adapter
from fintunnel_training.calibration.calibration_file import apply, read_calibration

from tests.e2e.interrupting import interrupted_after_a_first_answer

pytestmark = pytest.mark.e2e


@pytest.fixture
def tuned(adapter: Path, tmp_path: Path) -> Path:
    """A copy: the session's adapter stays as it was trained."""
    return shutil.copytree(adapter, tmp_path / "tuned", ignore=shutil.ignore_patterns("checkpoints"))


def test_an_adapter_is_calibrated_by_a_server_of_its_own(tuned: Path, instructions: Path) -> None:
    made = calibrate_adapter(tuned, instructions, rows=12, min_rows=4)
    assert read_calibration(tuned) == made and made.rows == 12 and made.quantization == "nf4"
    manifest = read_adapter(tuned)
    assert manifest is not None and {"calibration.json", "calibration.png"} <= set(manifest.files)
    assert set(made.fields) == {"impact", "direction", "priced_in", "wait_and_see"}
    for parts in made.fields.values():
        for fit in parts.values():
            assert abs(sum(fit.biases.values())) < 1e-6 and fit.nll_after <= fit.nll_before
    calibrated = apply({"low": 0.2, "medium": 0.3, "high": 0.5}, made.fields["impact"]["with_context"])
    assert sum(calibrated.values()) == pytest.approx(1)
    assert not list(tuned.parent.glob(".tuned-calibration*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process alone")
def test_ctrl_c_stops_the_server_and_keeps_the_answers(tuned: Path, instructions: Path) -> None:
    cache = tuned.parent / ".tuned-calibration.sqlite"
    command = [sys.executable, "-m", "fintunnel", "calibrate", "--adapter", str(tuned), "--data", str(instructions)]
    status, rest = interrupted_after_a_first_answer(command)
    assert status == 130 and "已中断" in rest and "再运行同一条命令" in rest, rest
    assert "Traceback" not in rest
    assert cache.is_file() and not (tuned / "calibration.json").exists() and read_adapter(tuned) is not None

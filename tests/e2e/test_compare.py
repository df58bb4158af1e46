"""From the trained adapter to the report: base and adapter in one real server of its own, interrupted on the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fintunnel_training.comparison.result import ComparisonResult

from tests.e2e.interrupting import interrupted_after_a_first_answer

pytestmark = pytest.mark.e2e


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process alone")
def test_an_interrupted_comparison_goes_on_and_ends_in_a_report(
    adapter: Path, instructions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "comparison"
    command = [sys.executable, "-m", "fintunnel", "compare", "--data", str(instructions), "--adapter", str(adapter)]
    command += ["--out", str(out), "--rows", "4", "--texts", "1", "--resamples", "1000"]
    status, rest = interrupted_after_a_first_answer(command)
    assert status == 130 and "已中断" in rest and "再运行同一条命令" in rest, rest
    assert "Traceback" not in rest and not (out / "report.html").exists()

    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    begun = re.search(r" (\d+)/(\d+) ", done.stderr)
    assert begun is not None and int(begun[1]) >= 1  # what had come before is not asked again
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    result = ComparisonResult.model_validate(report)
    assert [(each.name, each.answered) for each in result.systems[:2]] == [("base", 5), ("tuned", 5)]
    valid = next(each for each in result.measures if each.name == "valid").systems
    assert valid["base"].value == valid["tuned"].value == 1
    assert result.training[0].info is not None and result.training[0].loss_curve is not None
    assert (out / result.training[0].loss_curve).is_file()
    for name in ("report.html", "table.md", "defence.html"):
        assert (out / name).stat().st_size > 1000
    assert "tuned" in done.stdout

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fintunnel_training.calibration.calibrate import calibrate_adapter
from fintunnel_training.calibration.calibration_file import (
    CALIBRATION,
    Calibration,
)
from fintunnel_training.calibration.report import summary
from fintunnel_training.errors import TrainingError

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp
from tests.training.calibration_rows import fit

pytestmark = pytest.mark.usefixtures("key")


def calibrate(*arguments: str, key: str = "right-key") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fintunnel", "calibrate", *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "FINTUNNEL_API_KEY": key},
        check=False,
    )


def test_the_command_reports_in_plain_words(
    live_app: LiveApp, engine: InstantEngine, adapter: Path, data: Path
) -> None:
    engine.weights = {"low": 8.0}
    done = calibrate("--adapter", str(adapter), "--data", str(data), "--url", live_app.url)
    assert done.returncode == 0, done.stderr
    assert "影响程度" in done.stdout and "无上下文" in done.stdout and " → " in done.stdout
    assert str(adapter / CALIBRATION) in done.stdout and "问模型" in done.stderr
    as_json = calibrate("--adapter", str(adapter), "--data", str(data), "--url", live_app.url, "--json")
    assert Calibration.model_validate_json(as_json.stdout).fields["impact"]["with_context"].rows == 36


def test_no_gain_is_said(live_app: LiveApp, adapter: Path, data: Path) -> None:
    made = calibrate_adapter(adapter, data, url=live_app.url)
    assert "不足 200 行" in summary(made) and "没有带来任何改善" not in summary(made)
    nothing = made.model_copy(update={"fields": {"impact": {"with_context": fit()}}})
    assert "校准没有带来任何改善" in summary(nothing)
    gained = fit(2.0).model_copy(update={"rows": 500})
    part = made.model_copy(update={"fields": {"impact": {"with_context": fit(), "without_context": gained}}})
    assert "保持原样的：影响程度（有上下文）。" in summary(part)


def test_the_command_fails_in_one_line(adapter: Path, data: Path) -> None:
    done = calibrate("--adapter", str(adapter), "--data", str(data.with_name("none.jsonl")))
    assert done.returncode == 1 and done.stderr.startswith("[错误] 无法读取验证集")


def test_training_calibrates_on_the_validation_file_that_it_was_given(
    adapter: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fintunnel_training.calibration import calibrate as calibration
    from fintunnel_training.qlora import cli
    from fintunnel_training.qlora.options import TrainOptions
    from fintunnel_training.qlora.recipe import load_recipe

    asked: list[Path | None] = []

    def stop(*_: object, eval_data: Path | None, **__: object) -> None:
        asked.append(eval_data)
        raise TrainingError("nothing served")

    monkeypatch.setattr(calibration, "calibrate_adapter", stop)
    later = data.with_name("later.jsonl")
    for eval_data in (later, None):
        options = TrainOptions(
            data=data, out=adapter, base="embedded", recipe=load_recipe("cpu", {}), preset="cpu", eval_data=eval_data
        )
        cli._calibrate(adapter, options)
    assert asked == [later, None]
    with_it, without = (line for line in capsys.readouterr().out.splitlines() if "以后可以运行" in line)
    assert with_it.endswith(f"--data {data} --eval-data {later}") and without.endswith(f"--data {data}")


def test_the_file_is_read_without_torch_or_numpy() -> None:
    code = (
        "import sys, fintunnel_training.calibration.calibration_file;"
        "assert not {'torch', 'numpy'} & set(sys.modules);"
        "import fintunnel_training.calibration.calibrate;"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

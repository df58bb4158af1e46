"""The T4's path on whatever CUDA GPU there is: fp16, 20 steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from fintunnel_training import base
from fintunnel_training.base import Precision
from fintunnel_training.qlora.evidence import read_training_info
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.recipe import load_recipe
from fintunnel_training.qlora.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(base.cuda_capability() is None, reason="no CUDA GPU"),
    pytest.mark.filterwarnings("default"),
]


def test_twenty_steps_in_fp16_without_nan_and_without_bf16(
    tmp_path: Path, sample_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fintunnel_training.dataset.build import BuildOptions, build_dataset
    from fintunnel_training.dataset.files import write_dataset
    from fintunnel_training.dataset.sources.database import read_database

    data = tmp_path / "i.jsonl"
    write_dataset(build_dataset(read_database(str(sample_database)), BuildOptions(80)), data, source_sha256=None)
    # A T4 has compute capability 7.5 and no bf16.
    monkeypatch.setattr(base, "select_precision", lambda _capability: Precision("float16", fp16=True, bf16=False))
    recipe = load_recipe("t4", {"max_steps": 20, "max_length": 768, "eval_rows": 4})
    train(TrainOptions(data=data, out=tmp_path / "tuned", base="embedded", recipe=recipe, preset="t4"))
    info = read_training_info(tmp_path / "tuned")
    assert info is not None and info.precision == "float16" and info.trainable_dtypes == ["torch.float32"]
    lines = (tmp_path / "tuned" / "log_history.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert len(losses) == 20 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]

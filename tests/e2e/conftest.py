from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from fintunnel_training.base import LoadedBase, load_base
from fintunnel_training.embedded import embedded_folder

# A few real steps of a small batch: seconds.
SHORT_TRAINING = (
    *("--max-steps", "6", "--batch-size", "1", "--max-length", "512", "--learning-rate", "4e-3"),
    *("--eval-rows", "2", "--eval-steps", "3", "--save-steps", "4", "--no-calibrate"),
)


def fintunnel(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "fintunnel", *arguments], capture_output=True, encoding="utf-8", check=False
    )


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of pytest-xdist have in common; without them this process's own."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def instructions(sample_database: Path, whole_run: Path) -> Path:
    """Built by the first worker that needs it."""
    out = whole_run / "data" / "instructions.jsonl"
    with FileLock(whole_run / "instructions.lock"):
        if not out.is_file():
            out.parent.mkdir()
            built = fintunnel(
                "dataset", "build", "--db", str(sample_database), "--out", str(out), "--num-samples", "40"
            )
            assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="session")
def adapter(instructions: Path, whole_run: Path) -> Path:
    """An adapter of a few real NF4 steps on the embedded base, trained by the first worker that needs it."""
    out = whole_run / "models" / "tuned"
    with FileLock(whole_run / "adapter.lock"):
        if not out.is_dir():
            trained = fintunnel(
                *("train", "--data", str(instructions), "--base", "embedded", "--out", str(out), *SHORT_TRAINING),
            )
            assert trained.returncode == 0, trained.stderr
    return out


@pytest.fixture(scope="session")
def embedded() -> LoadedBase:
    return load_base("embedded")


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corner of the embedded base as a local folder: its tokenizer, 2 of its 30 layers, 64 of its 576 channels."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    whole, _ = embedded_folder()
    out = tmp_path_factory.mktemp("bases") / "corner"
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    counts = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = AutoConfig.from_pretrained(whole, **sizes, **counts)
    weights = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.bfloat16).state_dict()
    corner = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    corner.load_state_dict(
        {name: weights[name][tuple(map(slice, part.shape))] for name, part in corner.state_dict().items()}
    )
    corner.save_pretrained(out)
    AutoTokenizer.from_pretrained(whole).save_pretrained(out)
    return out

"""What a training process sets up around the trainer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fintunnel_training.errors import TrainingError
from fintunnel_training.qlora import train as train_module
from fintunnel_training.qlora.options import TrainOptions
from fintunnel_training.qlora.process_memory import give_back_memory
from fintunnel_training.qlora.recipe import load_recipe
from fintunnel_training.qlora.session import is_out_of_memory


def test_tensorboards_files_lie_beside_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it writes where the trainer does, and that goes at the end."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR")
    monkeypatch.setattr(train_module, "keep_freed_memory", lambda: None)  # it is for a whole process
    out = tmp_path / "tuned"
    recipe = load_recipe("cpu", {})
    with pytest.raises(TrainingError):  # there is no data
        train_module.train(TrainOptions(tmp_path / "none", out, "embedded", recipe, "cpu", report_to=("tensorboard",)))
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tuned-tensorboard")


def test_embeddings_that_bitsandbytes_holds_are_let_go() -> None:
    from bitsandbytes.optim import GlobalOptimManager
    from torch import nn

    manager = GlobalOptimManager.get_instance()
    manager.register_module_override(nn.Embedding(2, 2), "weight", {"optim_bits": 32})
    give_back_memory()
    assert manager.module_weight_config_triple == []


@pytest.mark.parametrize(
    ("words", "full"),
    [
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory", True),
        ("CUDA error: out of memory", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: device-side assert triggered", False),
    ],
)
def test_each_librarys_words_for_full_memory_are_known(words: str, full: bool) -> None:
    assert is_out_of_memory(RuntimeError(words)) == full

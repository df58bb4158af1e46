"""What a resumed run takes out of its checkpoint besides what the trainer takes itself."""

from __future__ import annotations

import json
from typing import Any

from fintunnel_training.qlora.checkpoints import Checkpoint
from fintunnel_training.qlora.options import TrainOptions

__all__ = ["BEST", "put_weights", "resumed_keeper", "tokens_so_far", "trainer_state"]

BEST = "best_adapter.safetensors"


def resumed_keeper(start: Checkpoint | None, options: TrainOptions) -> Any:
    """What watches the evaluations, with what it knew at the checkpoint; None without early stopping."""
    if options.recipe.early_stopping is None:
        return None
    from safetensors.torch import load_file

    from fintunnel_training.qlora.callbacks import BestAdapter

    best = start.record.best if start is not None else None
    weights = load_file(start.path / BEST) if start is not None and best is not None else None
    return BestAdapter(options.recipe.early_stopping, best, weights)


def trainer_state(checkpoint: Checkpoint) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint.path / "trainer_state.json").read_text(encoding="utf-8"))
    return state


def tokens_so_far(checkpoint: Checkpoint) -> int:
    return int(max((entry.get("num_tokens", 0) for entry in trainer_state(checkpoint)["log_history"]), default=0))


def put_weights(model: Any, weights: dict[str, Any]) -> None:
    import torch

    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)

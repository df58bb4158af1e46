"""Checkpoints of a trainer that never was, for tests of what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fintunnel_training.qlora.checkpoints import (
    Checkpoint,
    Record,
    seal,
)

FILES = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth")
IDENTITY: dict[str, Any] = {"data_sha256": "d", "recipe": {"learning_rate": 0.001, "seed": 42}}


def write(folder: Path, step: int = 1) -> Path:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(f"{name} of step {step}".encode() * 100)
    state = {"global_step": step, "max_steps": 1000, "log_history": []}
    (folder / "trainer_state.json").write_text(json.dumps(state) + " " * 200, encoding="utf-8")
    return folder


def record(step: int, **changes: Any) -> Record:
    facts = {"step": step, "identity": IDENTITY, "batch_size": 4, "accumulation": 1, "seconds": 1.0}
    return Record.model_validate(facts | changes)


def sealed(place: Path, step: int, **changes: Any) -> Checkpoint:
    return seal(write(place / "writing" / f"checkpoint-{step}", step), place / "checkpoints", record(step, **changes))

"""What a training run is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fintunnel_training.qlora.recipe import Recipe

__all__ = ["TrainOptions"]


@dataclass(frozen=True)
class TrainOptions:
    """`recipe` decides the adapter; the rest is where things lie and how the run is kept safe."""

    data: Path
    out: Path
    base: str
    recipe: Recipe
    preset: str
    """where the recipe began"""
    eval_data: Path | None = None
    """None: `X.val.jsonl` beside the data, where there is one"""
    resume: Literal["auto", "never"] = "auto"
    mirror: Path | None = None
    """a second place for checkpoints; a folder named as the adapter is made in it"""
    report_to: Sequence[str] = ()
    dry_run: bool = False

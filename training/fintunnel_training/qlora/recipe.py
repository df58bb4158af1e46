"""The knobs of the recipe, and presets of them: one commented YAML file for each kind of machine."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal

from fintunnel.broken_rules import rule_in_chinese
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fintunnel_training.errors import OptionError

__all__ = ["PRESETS", "Preset", "Recipe", "load_recipe", "preset_for"]

Preset = Literal["t4", "ampere", "cpu"]
PRESETS: tuple[Preset, ...] = ("t4", "ampere", "cpu")


class Recipe(BaseModel):
    """Everything that decides the adapter besides data and base, and how often it is saved. Explained knob by knob in
    `presets/t4.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    quantization: Literal["nf4", "none"]
    epochs: float = Field(gt=0, le=1000)
    max_steps: int | None = Field(None, ge=1, le=10_000_000)
    batch_size: int = Field(ge=1, le=4096)
    accumulation: int = Field(ge=1, le=65536)
    max_length: int = Field(ge=64, le=1_000_000)
    learning_rate: float = Field(gt=0, le=1)
    schedule: Literal["cosine", "constant"]
    warmup_steps: int | None = Field(None, ge=0, le=10_000_000)
    optimizer: Literal["paged_adamw_8bit", "adamw"]
    weight_decay: float = Field(ge=0, le=1)
    max_grad_norm: float = Field(gt=0, le=1e6)
    gradient_checkpointing: bool
    targets: Literal["all-linear", "attention"]
    lora_r: int = Field(ge=1, le=1024)
    lora_alpha: int = Field(ge=1, le=65536)
    lora_dropout: float = Field(ge=0, lt=1)
    rslora: bool
    dora: bool
    loraplus_ratio: float | None = Field(None, ge=1, le=1000)
    neftune_alpha: float | None = Field(None, gt=0, le=1000)
    eval_steps: int | None = Field(None, ge=1, le=10_000_000)
    eval_rows: int = Field(ge=0, le=10_000_000)
    early_stopping: int | None = Field(None, ge=1)
    save_steps: int = Field(ge=1, le=10_000_000)
    seed: int = Field(ge=0, le=2**32 - 1)


def preset_for(cuda_capability: tuple[int, int] | None) -> Preset:
    """What fits this machine; None means CPU."""
    if cuda_capability is None:
        return "cpu"
    return "ampere" if cuda_capability[0] >= 8 else "t4"


def load_recipe(preset: Preset, changes: dict[str, Any]) -> Recipe:
    """A preset with the `changes` that are not None.

    Raises:
        OptionError: a value is out of its range.
    """
    import yaml

    text = (files("fintunnel_training.qlora") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    try:
        return Recipe.model_validate(values | {name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise OptionError(f"{option} 的值不对：{first['input']!r}（{rule_in_chinese(first)}）") from error

from __future__ import annotations

from importlib.resources import files

import pytest
from fintunnel_training.errors import OptionError
from fintunnel_training.qlora.cli import train
from fintunnel_training.qlora.recipe import PRESETS, Recipe, load_recipe, preset_for
from fintunnel_training.qlora.trainer import count_steps, optimizer_name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_names_every_knob(preset: str) -> None:
    import yaml

    text = (files("fintunnel_training.qlora") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    assert set(yaml.safe_load(text)) == set(Recipe.model_fields)
    if preset == "t4":  # the one that explains: a comment for each
        knobs = [line for line in text.splitlines() if ":" in line.split("#")[0]]
        assert len(knobs) == len(Recipe.model_fields) and all("#" in line for line in knobs)


def test_every_knob_is_a_flag() -> None:
    import inspect

    (command,) = train.registered_commands
    assert command.callback is not None
    assert set(inspect.signature(command.callback).parameters) >= set(Recipe.model_fields)


def test_the_preset_follows_the_machine() -> None:
    assert [preset_for(c) for c in (None, (7, 5), (8, 0), (9, 0))] == ["cpu", "t4", "ampere", "ampere"]


def test_changes_that_are_not_given_leave_the_preset() -> None:
    plain, changed = load_recipe("t4", {}), load_recipe("t4", {"lora_r": 32, "dora": None, "rslora": False})
    assert (changed.lora_r, changed.dora) == (32, plain.dora)
    assert plain.optimizer == "paged_adamw_8bit" and plain.targets == "all-linear" and plain.quantization == "nf4"


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("learning_rate", 0, "--learning-rate"),
        ("batch_size", 0, "--batch-size"),
        ("lora_dropout", 1.0, "--lora-dropout"),
    ],
)
def test_a_value_out_of_range_names_its_option(name: str, value: float, option: str) -> None:
    with pytest.raises(OptionError, match=f"{option} 的值不对"):
        load_recipe("cpu", {name: value})


def test_steps_do_not_change_when_batches_are_halved() -> None:
    for rows in (1, 7, 37, 300):
        counts = set()
        for batch, accumulation in ((8, 1), (4, 2), (2, 4), (1, 8)):
            recipe = load_recipe("cpu", {"batch_size": batch, "accumulation": accumulation})
            counts.add(count_steps(rows, recipe))
        assert len(counts) == 1


def test_paged_states_are_for_one_process_on_a_gpu() -> None:
    paged = load_recipe("t4", {})
    assert optimizer_name(paged, on_gpu=True, processes=1) == "paged_adamw_8bit"
    assert optimizer_name(paged, on_gpu=True, processes=2) == "adamw_8bit"
    assert optimizer_name(paged, on_gpu=False, processes=1) == "adamw_torch"
    assert optimizer_name(load_recipe("t4", {"optimizer": "adamw"}), on_gpu=True, processes=1) == "adamw_torch"

"""What the estimate depends on. How far it is off is measured by real runs, see docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

import pytest
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.estimate import Estimate, Shape, estimate, read_shape
from fintunnel_training.qlora.recipe import load_recipe

LAYERS, HIDDEN, INTERMEDIATE = 30, 576, 1536
ATTENTION = LAYERS * 4 * HIDDEN
ALL_LINEAR = LAYERS * (6 * HIDDEN + INTERMEDIATE)


def estimated(
    adapted_inputs: int, *, on_gpu: bool = False, lengths: tuple[int, ...] = (512, 512), **knobs: Any
) -> Estimate:
    shape = Shape(
        linear_weights=106_000_000,
        other_weights=28_000_000,
        adapter_weights=2_442_240,
        adapted_inputs=adapted_inputs,
        hidden=HIDDEN,
        intermediate=INTERMEDIATE,
        layers=LAYERS,
        vocabulary=49152,
    )
    rows = [{"input_ids": [1] * tokens, "labels": [1] * tokens} for tokens in lengths]
    recipe = load_recipe("cpu", {"batch_size": 2, **knobs})
    return estimate(shape, recipe, EncodedRows(rows, 0, 0), on_gpu=on_gpu)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_layers_without_an_adapter_keep_nothing(on_gpu: bool) -> None:
    everywhere, attention = (estimated(inputs, on_gpu=on_gpu).activations for inputs in (ALL_LINEAR, ATTENTION))
    per_number = 3 if on_gpu else 8  # the input, and what dropout multiplied with
    assert everywhere - attention == 2 * 512 * per_number * (ALL_LINEAR - ATTENTION)


def test_dropout_keeps_its_numbers_too() -> None:
    with_it, without = estimated(ALL_LINEAR).activations, estimated(ALL_LINEAR, lora_dropout=0.0).activations
    assert with_it - without == 2 * 512 * 4 * ALL_LINEAR


def test_rows_of_many_lengths_leave_gaps_on_a_cpu() -> None:
    even, mixed = (estimated(ALL_LINEAR, lengths=lengths).activations for lengths in ((512, 512), (300, 512)))
    assert mixed == pytest.approx(1.25 * even)
    even, mixed = (
        estimated(ALL_LINEAR, on_gpu=True, lengths=lengths).activations for lengths in ((512, 512), (300, 512))
    )
    assert mixed == even


def test_checkpointing_keeps_one_block_at_a_time() -> None:
    whole, recomputed = estimated(ALL_LINEAR), estimated(ALL_LINEAR, gradient_checkpointing=True)
    assert recomputed.activations < whole.activations - 25 / LAYERS * 2 * 512 * 8 * ALL_LINEAR


@pytest.mark.parametrize(("targets", "inputs"), [("all-linear", ALL_LINEAR), ("attention", ATTENTION)])
def test_the_embedded_base_is_measured_without_its_weights(targets: str, inputs: int) -> None:
    from fintunnel_training.base import resolve_base

    shape = read_shape(resolve_base("embedded"), load_recipe("cpu", {"targets": targets}))
    assert (shape.layers, shape.hidden, shape.intermediate) == (LAYERS, HIDDEN, INTERMEDIATE)
    assert shape.adapted_inputs == inputs

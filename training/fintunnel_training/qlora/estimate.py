"""What a run will need, before it starts: from the base's shape alone, without its weights.

Memory is counted in the parts that a step holds at its peak. The formulas' assumptions stand beside them; how far they
are off is in docs/benchmarks.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from fintunnel_training.base import ResolvedBase
from fintunnel_training.errors import BaseModelError
from fintunnel_training.qlora.encoding import EncodedRows
from fintunnel_training.qlora.recipe import Recipe
from fintunnel_training.qlora.trainer import count_steps, target_modules

__all__ = ["Estimate", "Shape", "describe", "estimate", "free_bytes", "numbers", "read_shape"]

_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # per weight: 4 bits, and double-quantised scales of blocks of 64
_GIB = 2**30
_GAPS = 1.25  # on a CPU, what batches of other lengths leave free is not all of use to the next (measured)
_TILE_TOKENS, _TILE_VOCABULARY = 4096, 32768  # trl's chunked_logprob


@dataclass(frozen=True)
class Shape:
    """Of a base: weights that are quantised and those that are not, those of the adapter, and what a token takes.

    `hidden`, `intermediate`: widths; `layers`: blocks; `vocabulary`: tokens; `adapted_inputs`: widths of what goes into
    the layers that get an adapter, all added up.
    """

    linear_weights: int
    other_weights: int
    adapter_weights: int
    adapted_inputs: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part at the peak of a step, and the size of the run."""

    weights: int
    adapter: int
    """float32 weights and gradients"""
    optimizer: int
    activations: int
    overhead: int
    """of the CUDA context, the libraries and memory lost between blocks"""
    steps: int
    tokens: int
    """in the whole run"""
    adapter_file: int

    @property
    def peak(self) -> int:
        return self.weights + self.adapter + self.optimizer + self.activations + self.overhead


def read_shape(resolved: ResolvedBase, recipe: Recipe) -> Shape:
    """Build the base without memory for its weights and count them.

    Raises:
        BaseModelError: the base's config cannot be read, or has no layers to adapt.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(resolved.path, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # damaged files make the libraries raise whatever they meet
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BaseModelError(f"无法读取基座 {resolved.id} 的结构，或它不是能生成文本的模型：{reason}") from error
    head = model.get_output_embeddings()
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    targets = target_modules(model, recipe.targets)
    adapted = [
        module for name, module in linear.items() if targets == "all-linear" or name.rpartition(".")[2] in targets
    ]
    linear_weights = sum(module.weight.numel() for module in linear.values())
    text = config.get_text_config()
    return Shape(
        linear_weights=linear_weights,
        other_weights=sum(parameter.numel() for parameter in model.parameters()) - linear_weights,
        adapter_weights=sum(
            recipe.lora_r * (module.in_features + module.out_features) + (module.out_features if recipe.dora else 0)
            for module in adapted
        ),
        adapted_inputs=sum(module.in_features for module in adapted),
        hidden=text.hidden_size,
        intermediate=max(module.out_features for module in linear.values()),
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
    )


def estimate(shape: Shape, recipe: Recipe, encoded: EncodedRows, *, on_gpu: bool, processes: int = 1) -> Estimate:
    """Memory of one process at its peak, and the size of the run."""
    per_weight = _NF4_BYTES if recipe.quantization == "nf4" else 2
    lengths = {len(row["input_ids"]) for row in encoded.rows}
    activations = _activations(shape, recipe, recipe.batch_size * max(lengths), on_gpu=on_gpu)
    if len(lengths) > 1 and not on_gpu:
        activations = math.ceil(activations * _GAPS)
    steps = count_steps(len(encoded.rows), recipe, processes)
    rows_per_step = recipe.batch_size * recipe.accumulation * processes
    eight_bit = on_gpu and recipe.optimizer == "paged_adamw_8bit"
    return Estimate(
        weights=math.ceil(shape.linear_weights * per_weight + shape.other_weights * 2),
        adapter=shape.adapter_weights * 8,
        optimizer=shape.adapter_weights * (2 if eight_bit else 8),
        activations=activations,
        overhead=(600 if on_gpu else 1150) * 2**20,
        steps=steps,
        tokens=round(encoded.tokens / len(encoded.rows) * rows_per_step * steps),
        adapter_file=shape.adapter_weights * 2,
    )


def _activations(shape: Shape, recipe: Recipe, tokens: int, *, on_gpu: bool) -> int:
    """Of a forward and backward pass over `tokens`; the peak is where the backward pass begins."""
    # What a block keeps for its backward pass: its two norms in float32, the products of attention and of the gate, and
    # of every adapted layer its input, beside which dropout keeps what it multiplied with (on a GPU a byte for each
    # number). On a CPU there is no autocast: what goes through the float32 adapter is kept in float32. Layers without
    # an adapter are frozen and keep nothing.
    dropout = recipe.lora_dropout > 0
    if on_gpu:
        beside, adapted = 14 * shape.hidden + 9 * shape.intermediate, 3 if dropout else 2
    else:
        beside, adapted = 14 * shape.hidden + 6 * shape.intermediate, 8 if dropout else 4
    blocks = tokens * (beside * shape.layers + adapted * shape.adapted_inputs)
    if recipe.gradient_checkpointing:  # every block's input, and one block at a time
        kept = tokens * shape.hidden * 2 * shape.layers + blocks // shape.layers
    else:
        kept = blocks
    # trl computes the loss in tiles. Triton's kernels need the tile alone, torch its softmax and gradient in float32.
    tile = min(tokens, _TILE_TOKENS) * min(shape.vocabulary, _TILE_VOCABULARY)
    scores = tile * (2 if on_gpu and find_spec("triton") else 2 + 8 * 4)
    # One layer's weights are unpacked from 4 bits at a time.
    unpacked = 2 * shape.hidden * shape.intermediate if recipe.quantization == "nf4" else 0
    return kept + scores + unpacked


def describe(found: Estimate, free: int | None, where: str) -> list[str]:
    """Chinese lines: the parts, the peak against what is `free` (bytes), the run's size."""
    lines = [
        "估计："
        f"基座 {_gib(found.weights)}，适配器与梯度 {_gib(found.adapter)}，优化器 {_gib(found.optimizer)}，"
        f"激活 {_gib(found.activations)}，其他 {_gib(found.overhead)}",
        f"  峰值约 {_gib(found.peak)}" + (f"，{where}可用 {_gib(free)}" if free is not None else ""),
        f"  {found.steps} 步，约 {found.tokens:,} 个 token；适配器文件约 {found.adapter_file / 2**20:.1f} MiB",
    ]
    if free is not None and found.peak > free:
        lines.append("  注意：可能不够。可调小 --batch-size 或 --max-length；训练中内存不足时会自动把批大小减半。")
    return lines


def free_bytes(device: str) -> tuple[int | None, str]:
    """Memory that is free for this process, and the Chinese name of where."""
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(device)[0]), "显存"
    import psutil

    return int(psutil.virtual_memory().available), "内存"


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f} GiB"


def numbers(found: Estimate) -> dict[str, Any]:
    """For `training_info.json`: GiB of each part."""
    return {
        name: round(getattr(found, name) / _GIB, 3)
        for name in ("weights", "adapter", "optimizer", "activations", "overhead", "peak")
    }

"""An adapter's folder as matrices for the layers of a base."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fintunnel_training.adapter import ADAPTER_WEIGHTS
from fintunnel_training.errors import AdapterError

__all__ = ["AdapterWeights", "LowRank", "low_rank_parts", "read_weights"]

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LowRank:
    """`lora_a` (rank, in), `lora_b` (out, rank) with the scale in it; `gain` (out,) where the adapter is DoRA."""

    lora_a: Any
    lora_b: Any
    gain: Any = None


@dataclass(frozen=True)
class AdapterWeights:
    """What an adapter's folder holds: peft's configuration, and its tensors by their names."""

    folder: Path
    config: Any
    tensors: dict[str, Any]


def read_weights(folder: Path) -> AdapterWeights:
    """Needs no model and computes nothing: may be called on any thread.

    Raises:
        AdapterError: it cannot be read, or is more than LoRA on linear layers.
    """
    from peft import LoraConfig, PeftConfig
    from safetensors.torch import load_file

    try:
        config = PeftConfig.from_pretrained(str(folder))
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    except Exception as error:  # damaged files make the libraries raise whatever they meet
        raise AdapterError(f"适配器 {folder} 无法读取：{error}"[:300]) from error
    if not isinstance(config, LoraConfig) or any(
        (config.bias != "none", config.modules_to_save, config.fan_in_fan_out, config.alpha_pattern)
    ):
        raise AdapterError(f"适配器 {folder} 不只是线性层上的 LoRA，不能直接加载。可用 --merge 把它合并进基座。")
    return AdapterWeights(folder, config, tensors)


def low_rank_parts(model: Any, weights: AdapterWeights, layer_at: Callable[[str], Any]) -> dict[str, LowRank]:
    """An adapter's matrices by the path of the layer that they belong to, in the model's precision and on its device.

    Args:
        layer_at: the base's layer at a path; None where there is none.

    Raises:
        AdapterError: it does not fit the base, or has parts that are not low-rank matrices of linear layers.
    """
    folder, config, tensors = weights.folder, weights.config, dict(weights.tensors)
    head = model.get_output_embeddings()
    parts: dict[str, LowRank] = {}
    for key in [key for key in tensors if key.endswith(".lora_A.weight")]:
        path = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        stem = key.removesuffix(".lora_A.weight")
        magnitude = tensors.pop(f"{stem}.lora_magnitude_vector", None)
        lora_a, lora_b = tensors.pop(key), tensors.pop(f"{stem}.lora_B.weight", None)
        base = layer_at(path)
        if base is head:  # logits of a few tokens are computed from its weights alone
            raise AdapterError(f"适配器 {folder} 改了输出层（{path}），不能直接加载。可用 --merge 把它合并进基座。")
        if lora_b is None or (lora_a.shape[1], lora_b.shape[0]) != (
            getattr(base, "in_features", None),
            getattr(base, "out_features", None),
        ):
            raise AdapterError(f"适配器 {folder} 不适合这个基座：{path} 对不上。请用 --base 指定训练时的基座。")
        rank = lora_a.shape[0]
        if not (lora_a.is_floating_point() and lora_b.is_floating_point()) or lora_b.shape[1] != rank:
            raise AdapterError(f"适配器 {folder} 的权重不是 LoRA 的矩阵：{path}。")
        if not config.rank_pattern and config.r != rank:
            raise AdapterError(f"适配器 {folder} 的配置与权重不符：r 是 {config.r}，{path} 的秩是 {rank}。")
        try:
            part = _part(config, base, lora_a, lora_b, magnitude, model)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise AdapterError(f"适配器 {folder} 的配置无效：{error}"[:300]) from error
        if not all(torch.isfinite(each).all() for each in (part.lora_a, part.lora_b, part.gain) if each is not None):
            raise AdapterError(f"适配器 {folder} 里有 NaN 或无穷大：{path}。训练很可能发散了。")
        parts[path] = part
    if tensors or not parts:
        odd = next(iter(tensors), "没有 LoRA 权重")
        raise AdapterError(f"适配器 {folder} 里有认不出的权重：{odd}。可用 --merge 把它合并进基座。")
    return parts


def _part(config: Any, base: Any, lora_a: Any, lora_b: Any, magnitude: Any, model: Any) -> LowRank:
    rank = len(lora_a)
    scale = config.lora_alpha / (math.sqrt(rank) if config.use_rslora else rank)
    options = {"dtype": model.dtype, "device": model.device}
    gain = None
    if magnitude is not None:  # DoRA (Liu et al., 2024): the length of each output is learned apart
        update = scale * lora_b.float().to(model.device) @ lora_a.float().to(model.device)
        weight = _weight(base, model).float() + update
        gain = (magnitude.float().to(model.device) / weight.norm(dim=1)).to(**options)
    return LowRank(lora_a.to(**options), (scale * lora_b.float()).to(**options), gain)


def _weight(layer: Any, model: Any) -> Any:
    """A layer's weights (out, in), by what it makes of the unit vectors: bitsandbytes has several layouts of 4 bits."""
    units = torch.eye(layer.in_features, dtype=model.dtype, device=model.device)
    with torch.inference_mode():
        weight = layer(units[None])[0].T
    return weight if layer.bias is None else weight - layer.bias[:, None]

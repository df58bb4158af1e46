"""Several LoRA adapters on one base at once, chosen token by token.

peft's own layers run a batch once for each adapter in it. Here the low-rank matrices of all adapters stand side by
side: two small products serve every token, whatever its adapter; the columns of the others are multiplied by 0, so that
the bare base answers as if no adapter were loaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fintunnel_training.adapter import ADAPTER_WEIGHTS
from fintunnel_training.errors import AdapterError
from torch import nn

__all__ = ["Adapters", "TokenAdapters"]

_PREFIX = "base_model.model."


class TokenAdapters:
    """Which adapter each token of the pass under way goes through; set before it, read by every layer.

    `numbers`: per token the number of its adapter, -1 for none; shape (tokens,).
    """

    def __init__(self) -> None:
        self._numbers: Any = None
        self._any = False
        self._weights: dict[tuple[int, ...], Any] = {}

    def set(self, numbers: Any) -> None:
        self._numbers = numbers
        self._any = bool((numbers >= 0).any())
        self._weights = {}

    @property
    def any(self) -> bool:
        return self._any

    def weights(self, columns: tuple[int, ...], dtype: Any) -> Any:
        """1 where a column is of the token's adapter, else 0; shape (tokens, columns)."""
        known = self._weights.get(columns)
        if known is None:
            of = torch.tensor(columns, device=self._numbers.device)
            known = self._weights[columns] = (self._numbers[:, None] == of).to(dtype)
        return known

    def gains(self, gains: Any) -> Any:
        """The rows of `gains` (adapters + 1, width) for each token; its last row is for those without adapter."""
        return gains[self._numbers]


@dataclass(frozen=True)
class _LowRank:
    """`down` (rank, in), `up` (out, rank) with the scale in it; `gain` (out,) where the adapter is DoRA."""

    down: Any
    up: Any
    gain: Any = None


class _AdaptedLinear(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A linear layer of the base, frozen and perhaps in 4 bits, with what the adapters add to it."""

    def __init__(self, base: nn.Module, tokens: TokenAdapters) -> None:
        super().__init__()
        self.base = base
        self._tokens = tokens
        self._parts: dict[int, _LowRank] = {}
        self._columns: tuple[int, ...] = ()
        self._down: Any = None
        self._up: Any = None
        self._gains: Any = None

    def put(self, number: int, part: _LowRank) -> None:
        self._parts[number] = part
        self._join()

    def drop(self, number: int) -> None:
        if self._parts.pop(number, None) is not None:
            self._join()

    def _join(self) -> None:
        parts = self._parts
        self._columns = tuple(number for number, part in parts.items() for _ in range(len(part.down)))
        self._down = torch.cat([part.down for part in parts.values()]) if parts else None
        self._up = torch.cat([part.up for part in parts.values()], dim=1).T.contiguous() if parts else None
        self._gains = None
        if any(part.gain is not None for part in parts.values()):
            first = next(iter(parts.values()))
            self._gains = torch.ones(max(parts) + 2, len(first.up), dtype=first.up.dtype, device=first.up.device)
            for number, part in parts.items():
                if part.gain is not None:
                    self._gains[number] = part.gain

    def forward(self, hidden: Any) -> Any:
        """`hidden` has the shape (1, tokens, in)."""
        output = self.base(hidden)
        if self._down is None or not self._tokens.any:
            return output
        low = torch.mm(hidden[0], self._down.T)
        low *= self._tokens.weights(self._columns, low.dtype)
        output = torch.addmm(output[0], low, self._up)
        if self._gains is not None:
            output = output * self._tokens.gains(self._gains)
        return output[None]


class Adapters:
    """The adapters of one base by name. Not thread-safe: to be changed between passes."""

    def __init__(self, model: Any) -> None:
        self.tokens = TokenAdapters()
        self._model = model
        self._layers: dict[str, _AdaptedLinear] = {}
        self._numbers: dict[str, int] = {}

    def number(self, name: str | None) -> int:
        return -1 if name is None else self._numbers[name]

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter folder, or replace the adapter of that name.

        Raises:
            AdapterError: it does not fit the base, or has parts that are not low-rank matrices of linear layers.
        """
        parts = _read(self._model, folder, self._layers)
        self.unload(name)
        number = next(n for n in range(len(self._numbers) + 1) if n not in self._numbers.values())
        for path, part in parts.items():
            if path not in self._layers:
                self._layers[path] = _wrap(self._model, path, self.tokens)
            self._layers[path].put(number, part)
        self._numbers[name] = number

    def unload(self, name: str) -> None:
        number = self._numbers.pop(name, None)
        if number is not None:
            for layer in self._layers.values():
                layer.drop(number)


def _wrap(model: Any, path: str, tokens: TokenAdapters) -> _AdaptedLinear:
    parent, _, child = path.rpartition(".")
    layer = _AdaptedLinear(model.get_submodule(path), tokens)
    setattr(model.get_submodule(parent), child, layer)
    return layer


def _read(model: Any, folder: Path, wrapped: dict[str, _AdaptedLinear]) -> dict[str, _LowRank]:
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
    parts: dict[str, _LowRank] = {}
    for key in [key for key in tensors if key.endswith(".lora_A.weight")]:
        path = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        stem = key.removesuffix(".lora_A.weight")
        magnitude = tensors.pop(f"{stem}.lora_magnitude_vector", None)
        down, up = tensors.pop(key), tensors.pop(f"{stem}.lora_B.weight", None)
        try:
            base = wrapped[path].base if path in wrapped else model.get_submodule(path)
        except AttributeError:
            base = None
        if up is None or (down.shape[1], up.shape[0]) != (
            getattr(base, "in_features", None),
            getattr(base, "out_features", None),
        ):
            raise AdapterError(f"适配器 {folder} 不适合这个基座：{path} 对不上。请用 --base 指定训练时的基座。")
        parts[path] = _part(config, base, down, up, magnitude, model)
    if tensors or not parts:
        odd = next(iter(tensors), "没有 LoRA 权重")
        raise AdapterError(f"适配器 {folder} 里有认不出的权重：{odd}。可用 --merge 把它合并进基座。")
    return parts


def _part(config: Any, base: Any, down: Any, up: Any, magnitude: Any, model: Any) -> _LowRank:
    rank = len(down)
    scale = config.lora_alpha / (math.sqrt(rank) if config.use_rslora else rank)
    options = {"dtype": model.dtype, "device": model.device}
    gain = None
    if magnitude is not None:  # DoRA (Liu et al., 2024): the length of each output is learned apart
        weight = _weight(base, model).float() + scale * up.float().to(model.device) @ down.float().to(model.device)
        gain = (magnitude.float().to(model.device) / weight.norm(dim=1)).to(**options)
    return _LowRank(down.to(**options), (scale * up.float()).to(**options), gain)


def _weight(layer: Any, model: Any) -> Any:
    """A layer's weights (out, in), by what it makes of the unit vectors: bitsandbytes has several layouts of 4 bits."""
    units = torch.eye(layer.in_features, dtype=model.dtype, device=model.device)
    with torch.inference_mode():
        weight = layer(units[None])[0].T
    return weight if layer.bias is None else weight - layer.bias[:, None]

"""Several LoRA adapters on one base at once, chosen token by token.

peft's own layers run a batch once for each adapter in it. Here the low-rank matrices of all adapters stand side by
side: two small products serve every token, whatever its adapter; the columns of the others are multiplied by 0, so that
the bare base answers as if no adapter were loaded.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fintunnel_server.inference.adapter_weights import AdapterWeights, LowRank, low_rank_parts

__all__ = ["Adapters", "LoadedAdapter", "TokenAdapters"]


class TokenAdapters:
    """Which adapter each token of the pass under way goes through; set before it, read by every layer.

    `numbers`: per token the number of its adapter, -1 for none; shape (tokens,).
    """

    def __init__(self) -> None:
        self._numbers: Any = None
        self._any = False
        self._of_others: dict[tuple[int, ...], Any] = {}

    def set(self, numbers: Any) -> None:
        self._numbers = numbers
        self._any = bool((numbers >= 0).any())
        self._of_others = {}

    @property
    def any(self) -> bool:
        return self._any

    def of_others(self, columns: tuple[int, ...]) -> Any:
        """Whether a column is of another adapter than the token's; shape (tokens, columns)."""
        known = self._of_others.get(columns)
        if known is None:
            of = torch.tensor(columns, device=self._numbers.device)
            known = self._of_others[columns] = self._numbers[:, None] != of
        return known

    def gains(self, gains: Any) -> Any:
        """The row of each token in `gains` (adapters + 1, out), whose last row is for tokens without one of these
        adapters; shape (tokens, out)."""
        return gains[self._numbers.clamp(max=len(gains) - 1)]


class _AdaptedLinear(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A linear layer of the base, frozen and perhaps in 4 bits, with what the adapters add to it."""

    def __init__(self, base: nn.Module, tokens: TokenAdapters) -> None:
        super().__init__()
        self.base = base
        self._tokens = tokens
        self._parts: dict[int, LowRank] = {}
        self._columns: tuple[int, ...] = ()
        self._lora_a: Any = None  # (ranks of all adapters, in)
        self._lora_b: Any = None  # (ranks of all adapters, out)
        self._gains: Any = None

    def put(self, number: int, part: LowRank) -> None:
        self._join({**self._parts, number: part})

    def drop(self, number: int) -> None:
        if number in self._parts:
            self._join({n: part for n, part in self._parts.items() if n != number})

    def _join(self, parts: dict[int, LowRank]) -> None:
        """Take these parts in place of what was there; where memory runs out that stays."""
        lora_a: Any = torch.cat([part.lora_a for part in parts.values()]) if parts else None
        lora_b: Any = torch.cat([part.lora_b.T for part in parts.values()]) if parts else None
        gains: Any = None
        if any(part.gain is not None for part in parts.values()):
            gains = torch.ones(max(parts) + 2, lora_b.shape[1], dtype=lora_b.dtype, device=lora_b.device)
            for number, part in parts.items():
                if part.gain is not None:
                    gains[number] = part.gain
        self._columns = tuple(number for number, part in parts.items() for _ in range(len(part.lora_a)))
        self._lora_a, self._lora_b, self._gains = lora_a, lora_b, gains
        # What is kept of each are views of the joined ones.
        self._parts, begin = {}, 0
        for number, part in parts.items():
            end = begin + len(part.lora_a)
            self._parts[number] = LowRank(lora_a[begin:end], lora_b[begin:end].T, part.gain)
            begin = end

    def forward(self, hidden: Any) -> Any:
        """`hidden` has the shape (1, tokens, in)."""
        output = self.base(hidden)
        if self._lora_a is None or not self._tokens.any:
            return output
        low = torch.mm(hidden[0], self._lora_a.T)
        # Not multiplied by 0: what another adapter makes of a token may be infinite in 16 bits.
        low.masked_fill_(self._tokens.of_others(self._columns), 0)
        output = torch.addmm(output[0], low, self._lora_b)
        if self._gains is not None:
            output = output * self._tokens.gains(self._gains)
        return output[None]


@dataclass(eq=False)
class LoadedAdapter:
    """One adapter as it was loaded. `number`: what tokens name it by, while it is there."""

    number: int
    _users: int = 0
    _replaced: bool = False


class Adapters:
    """The adapters of one base by name. To be changed between passes only; `take` may be called from any thread.

    Who takes an adapter keeps it until it is given back: one that is replaced meanwhile goes when nobody uses it.
    """

    def __init__(self, model: Any) -> None:
        self.tokens = TokenAdapters()
        self._model = model
        self._layers: dict[str, _AdaptedLinear] = {}
        self._loaded: dict[str, LoadedAdapter] = {}
        self._numbers: set[int] = set()  # in use, by those that were replaced too
        self._lock = threading.Lock()

    def take(self, name: str | None) -> LoadedAdapter | None:
        """The adapter of that name, to be given back; None is the bare base."""
        if name is None:
            return None
        with self._lock:
            loaded = self._loaded[name]
            loaded._users += 1
            return loaded

    def give_back(self, loaded: LoadedAdapter | None) -> None:
        if loaded is None:
            return
        with self._lock:
            loaded._users -= 1
            over = loaded._replaced and loaded._users == 0
        if over:
            self._drop(loaded.number)

    def load(self, name: str, weights: AdapterWeights) -> None:
        """Add an adapter, or replace the adapter of that name for those who take it from now on.

        Raises:
            AdapterError: it does not fit the base, or has parts that are not low-rank matrices of linear layers.
        """
        parts = low_rank_parts(self._model, weights, self._layer_at)
        number = next(n for n in range(len(self._numbers) + 1) if n not in self._numbers)
        try:
            for path, part in parts.items():
                if path not in self._layers:
                    self._layers[path] = _wrap(self._model, path, self.tokens)
                self._layers[path].put(number, part)
        except BaseException:  # memory may run out in the midst of it
            self._drop(number)
            raise
        self._numbers.add(number)
        with self._lock:
            before = self._loaded.get(name)
            self._loaded[name] = LoadedAdapter(number)
            if before is not None:
                before._replaced = True
            over = before is not None and before._users == 0
        if before is not None and over:
            self._drop(before.number)

    def _layer_at(self, path: str) -> Any:
        try:
            return self._layers[path].base if path in self._layers else self._model.get_submodule(path)
        except AttributeError:
            return None

    def _drop(self, number: int) -> None:
        for layer in self._layers.values():
            layer.drop(number)
        self._numbers.discard(number)


def _wrap(model: Any, path: str, tokens: TokenAdapters) -> _AdaptedLinear:
    parent, _, child = path.rpartition(".")
    layer = _AdaptedLinear(model.get_submodule(path), tokens)
    setattr(model.get_submodule(parent), child, layer)
    return layer

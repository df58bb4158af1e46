"""Keys and values of the sequences under way: one row of memory for each, bounded in all."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["KvCache"]

_STEP = 256  # tokens by which all rows grow together


class KvCache:
    """`memory` has the shape (layers, 2, rows, key-value heads, tokens, head width); [:, 0] are keys, [:, 1] values.

    Rows are taken lowest first, so that the rows in use lie together and are attended to as one block without being
    copied. All rows are equally long; where a long sequence makes them longer there may be fewer of them, so that
    rows times tokens stays within `max_tokens`.
    """

    def __init__(
        self, *, layers: int, heads: int, width: int, dtype: Any, device: str, max_rows: int, max_tokens: int
    ) -> None:
        self.max_rows = max_rows
        self.max_tokens = max_tokens
        self._shape = (layers, 2, heads, width)
        self._options = {"dtype": dtype, "device": device}
        self._in_use: dict[int, int] = {}  # rows, and how long each has to be
        self.memory = self._allocate(0, 0)

    @property
    def rows_in_use(self) -> int:
        return len(self._in_use)

    @property
    def row_tokens(self) -> int:
        return int(self.memory.shape[4])

    @property
    def rows_possible(self) -> int:
        """How many rows there may be, as long as they are now."""
        return self._allowed(max(self.row_tokens, _STEP))

    def fits(self, tokens: int) -> bool:
        """Whether a row for so many tokens could ever be had."""
        return tokens <= self.max_tokens

    def take(self, tokens: int) -> int | None:
        """A row for a sequence of so many tokens; None while there is no room for one more.

        Raises:
            RuntimeError: there is less memory than the bounds say.
        """
        needed = min(-(-tokens // _STEP) * _STEP, self.max_tokens)
        # As long as rows are; where one more would be too many of those, as long as they have to be.
        for length in (max(self.row_tokens, needed), max([needed, *self._in_use.values()])):
            row = self._free_row(length)
            if row is not None:
                if length != self.row_tokens or row >= self.memory.shape[2]:
                    self._resize(max([row, *self._in_use]) + 1, length)
                self._in_use[row] = needed
                return row
        return None

    def give_back(self, row: int) -> None:
        self._in_use.pop(row, None)

    def _free_row(self, length: int) -> int | None:
        """The lowest one, were rows of that length."""
        allowed = self._allowed(length)
        if len(self._in_use) >= allowed or (length != self.row_tokens and any(row >= allowed for row in self._in_use)):
            return None
        return next((row for row in range(allowed) if row not in self._in_use), None)

    def _allowed(self, length: int) -> int:
        return min(self.max_rows, self.max_tokens // length)

    def copy_out(self, row: int, tokens: int) -> Any:
        """The first so many tokens of a row, to be put into others; shape (layers, 2, heads, tokens, width)."""
        return self.memory[:, :, row, :, :tokens].clone()

    def copy_in(self, row: int, saved: Any) -> None:
        self.memory[:, :, row, :, : saved.shape[3]] = saved

    def keep(self, row: int, start: int, columns: list[int]) -> None:
        """Move the tokens at `columns` to `start` and after; what else stands there is forgotten."""
        if columns != list(range(start, start + len(columns))):
            chosen = self.memory[:, :, row, :, columns]
            self.memory[:, :, row, :, start : start + len(columns)] = chosen

    def _resize(self, rows: int, tokens: int) -> None:
        allowed = self._allowed(tokens)
        wanted = next(size for size in (4, 16, 64, 256, allowed) if size >= min(rows, allowed) or size == allowed)
        old = self.memory
        self.memory = self._allocate(min(wanted, allowed), tokens)
        rows, tokens = min(old.shape[2], self.memory.shape[2]), min(old.shape[4], tokens)
        self.memory[:, :, :rows, :, :tokens] = old[:, :, :rows, :, :tokens]

    def _allocate(self, rows: int, tokens: int) -> Any:
        layers, both, heads, width = self._shape
        # Attention reads memory that no token was written to yet, and multiplies it by 0: it must be finite.
        return torch.zeros((layers, both, rows, heads, tokens, width), **self._options)

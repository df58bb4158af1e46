"""Attention over the memory of many conversations, for a pass whose tokens stand in one row.

Tokens being written, one for each conversation, attend as one block; a prompt, or a trie of answers, for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F

__all__ = ["IMPLEMENTATION", "Layout", "register"]

IMPLEMENTATION = "fintunnel"
"""what transformers knows it by"""


@dataclass(frozen=True)
class Layout:
    """What attention has to know of a pass: where each token is stored, and who attends to what.

    The first `singles` tokens are one of each of so many sequences, `single_rows` (singles,) their rows; they attend as
    one block to the first `longest` tokens of the rows from 0 on, with `single_mask` (rows, 1, 1, longest) added to
    their scores. Each of `others` is a segment of more tokens: its first token in the pass, its end, its row, how many
    stored tokens it attends to, and its mask (tokens, stored tokens).
    """

    memory: Any
    """the KV cache's: (layers, 2, rows, key-value heads, tokens, head width)"""
    rows: Any
    """of each token, (tokens,); `columns` its place in the row"""
    columns: Any
    singles: int
    single_rows: Any
    single_mask: Any
    longest: int
    others: list[tuple[int, int, int, int, Any]]


def register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _attend)


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    fintunnel_layout: Layout,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    """Store the new keys and values and attend to the stored ones.

    `query` has the shape (1, heads, tokens, width), `key` and `value` (1, key-value heads, tokens, width); the result
    (1, tokens, heads, width). Tokens that the layout does not know, which stand last, are neither stored nor attended
    to, and get zeros.
    """
    del attention_mask, kwargs
    at = fintunnel_layout
    keys, values = at.memory[module.layer_idx]
    stored = len(at.rows)
    keys[at.rows, :, at.columns] = key[0, :, :stored].transpose(0, 1)
    values[at.rows, :, at.columns] = value[0, :, :stored].transpose(0, 1)
    _, heads, tokens, width = query.shape
    shared_by = heads // keys.shape[1]  # query heads of one key-value head: they go in as so many tokens
    result = query.new_zeros(tokens, heads, width)
    if at.singles:
        block = query.new_zeros(at.single_mask.shape[0], keys.shape[1], shared_by, width)
        own = query[0, :, : at.singles].transpose(0, 1)
        block[at.single_rows] = own.reshape(at.singles, keys.shape[1], shared_by, width)
        attended = F.scaled_dot_product_attention(
            block,
            keys[: len(block), :, : at.longest],
            values[: len(block), :, : at.longest],
            attn_mask=at.single_mask,
            scale=scaling,
        )
        result[: at.singles] = attended[at.single_rows].reshape(at.singles, heads, width)
    for begin, end, row, length, mask in at.others:
        own = query[0, :, begin:end].reshape(1, keys.shape[1], shared_by * (end - begin), width)
        attended = F.scaled_dot_product_attention(
            own,
            keys[None, row, :, :length],
            values[None, row, :, :length],
            attn_mask=mask.repeat(shared_by, 1)[None, None],
            scale=scaling,
        )
        # Not a view: some kernels give their result in another order of dimensions.
        result[begin:end] = attended.reshape(heads, end - begin, width).transpose(0, 1)
    return result[None], None

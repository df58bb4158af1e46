"""One forward pass over tokens of many conversations: the layers see one long row of tokens.

Only attention knows which token is whose. Tokens being written, one for each conversation, attend as one block; a
prompt, or a trie of answers, attends for itself, each token to its own ancestors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from fintunnel_training.base import LoadedBase
from fintunnel_training.errors import BaseModelError

from fintunnel_server.inference.adapters import Adapters
from fintunnel_server.inference.attention import IMPLEMENTATION, Layout, register
from fintunnel_server.inference.kv_cache import KvCache

__all__ = ["ModelPass", "Segment", "chain"]

_CHECK_TOKENS = 24
_DISAGREEMENT = 0.001  # of the logits, ours and the model's own, where rounding does not do more


@dataclass(frozen=True)
class Segment:
    """Tokens of one conversation to be fed in one pass.

    `tokens[i]` follows `tokens[parents[i]]`, or what the row holds already where that is -1. They are stored in this
    order from `start` on, which is how many tokens the row holds. `compared`: by token number i, tokens whose logits
    after it are wanted; `written`: whether the logits of the whole vocabulary after the last one are.
    """

    row: int
    start: int
    adapter: int
    tokens: Sequence[int]
    parents: Sequence[int]
    compared: Mapping[int, Sequence[int]]
    written: bool = False


def chain(count: int) -> list[int]:
    """Parents of tokens that follow one another."""
    return list(range(-1, count - 1))


class ModelPass:
    """Runs passes over a base with its adapters. One thread at a time."""

    def __init__(self, base: LoadedBase, *, max_rows: int, max_cache_bytes: int) -> None:
        """
        Args:
            base: its attention is replaced.
            max_rows: sequences in the KV cache at once.
            max_cache_bytes: of all their keys and values; room for 512 tokens at least.

        Raises:
            BaseModelError: the base computes attention in a way of its own, so that its answers would be others.
        """
        self.model = base.model.eval()
        self.device = base.device
        self._head = self.model.get_output_embeddings()
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        per_token = config.num_hidden_layers * 2 * heads * width * self.model.dtype.itemsize
        self.cache = KvCache(
            layers=config.num_hidden_layers,
            heads=heads,
            width=width,
            dtype=self.model.dtype,
            device=base.device,
            max_rows=max_rows,
            max_tokens=max(max_cache_bytes // per_token, 512),
        )
        self.adapters = Adapters(self.model)
        reference, rounding = self._own_logits()
        register()
        self.model.set_attn_implementation(IMPLEMENTATION)
        self._check_against(reference, rounding)

    def run(self, segments: Sequence[Segment]) -> list[tuple[dict[int, dict[int, float]], Any]]:
        """Feed the segments and store their keys and values.

        Returns:
            per segment the logits that were asked for: by token number and compared token, and, where it is written,
            over the vocabulary (float32, on the CPU).
        """
        # Those with one token first: they make one block.
        order = sorted(range(len(segments)), key=lambda i: len(segments[i].tokens) > 1)
        ordered = [segments[i] for i in order]
        results: list[Any] = [None] * len(segments)
        with torch.inference_mode():
            hidden = self._hidden(ordered)
            for i, result in zip(order, self._logits(ordered, hidden), strict=True):
                results[i] = result
        return results

    def _hidden(self, segments: Sequence[Segment]) -> Any:
        """The last layer's output, shape (tokens and padding, hidden)."""
        tokens = [token for segment in segments for token in segment.tokens]
        depths = [depth for segment in segments for depth in _depths(segment)]
        numbers = [segment.adapter for segment in segments for _ in segment.tokens]
        padding = _padded(len(tokens)) - len(tokens)
        tokens += [0] * padding
        depths += [0] * padding
        numbers += [-1] * padding
        ids = torch.tensor([tokens], device=self.device)
        positions = torch.tensor([depths], device=self.device)
        self.adapters.tokens.set(torch.tensor(numbers, device=self.device))
        output = self.model.base_model(
            input_ids=ids, position_ids=positions, use_cache=False, fintunnel_layout=self._layout(segments)
        )
        return output.last_hidden_state[0]

    def _layout(self, segments: Sequence[Segment]) -> Layout:
        rows = [segment.row for segment in segments for _ in segment.tokens]
        columns = [segment.start + i for segment in segments for i in range(len(segment.tokens))]
        singles = sum(len(segment.tokens) == 1 for segment in segments)
        single_rows = single_mask = None
        longest = 0
        if singles:
            of = torch.tensor(rows[:singles])
            lengths = torch.ones(max(rows[:singles]) + 1, dtype=torch.long)  # rows between them see one token
            lengths[of] = torch.tensor(columns[:singles]) + 1
            longest = int(lengths.max())
            mask = torch.arange(longest)[None, :] >= lengths[:, None]
            single_mask = self._mask(mask)[:, None, None, :]
            single_rows = of.to(self.device)
        others = []
        begin = singles
        for segment in segments[singles:]:
            end = begin + len(segment.tokens)
            hides = _hides(segment)
            others.append((begin, end, segment.row, segment.start + len(segment.tokens), self._mask(hides)))
            begin = end
        return Layout(
            memory=self.cache.memory,
            rows=torch.tensor(rows, device=self.device),
            columns=torch.tensor(columns, device=self.device),
            singles=singles,
            single_rows=single_rows,
            single_mask=single_mask,
            longest=longest,
            others=others,
        )

    def _mask(self, hides: Any) -> Any:
        """What is added to attention's scores: nothing, or so much that nothing is left."""
        mask = torch.zeros(hides.shape, dtype=self.model.dtype)
        return mask.masked_fill_(hides, torch.finfo(self.model.dtype).min).to(self.device)

    def _logits(self, segments: Sequence[Segment], hidden: Any) -> list[tuple[dict[int, dict[int, float]], Any]]:
        compared: list[tuple[int, Sequence[int]]] = []
        written: list[int] = []
        begin = 0
        for segment in segments:
            compared += [(begin + i, tokens) for i, tokens in segment.compared.items()]
            begin += len(segment.tokens)
            if segment.written:
                written.append(begin - 1)
        scores = iter(self._compare(compared, hidden))
        whole = iter(self._head(hidden[written]).float().cpu() if written else ())
        return [
            (
                {i: dict(zip(tokens, next(scores), strict=True)) for i, tokens in segment.compared.items()},
                next(whole) if segment.written else None,
            )
            for segment in segments
        ]

    def _compare(self, wanted: Sequence[tuple[int, Sequence[int]]], hidden: Any) -> list[list[float]]:
        """Logits of a few tokens each, in float32: in 16 bits they would be rounded to eighths, and tie."""
        if not wanted:
            return []
        of = torch.tensor([i for i, tokens in wanted for _ in tokens], device=self.device)
        candidates = torch.tensor([token for _, tokens in wanted for token in tokens], device=self.device)
        flat = (hidden[of].float() * self._head.weight[candidates].float()).sum(-1)
        if self._head.bias is not None:
            flat += self._head.bias[candidates].float()
        values = iter(flat.tolist())
        return [[next(values) for _ in tokens] for _, tokens in wanted]

    # --- whether this base can be served so ---------------------------------------------------------

    def _own_logits(self) -> tuple[Any, float]:
        """The base's own logits after some tokens, the last one fed alone, as we feed it: a matrix in 4 bits is
        multiplied with one token by another kernel than with many. And how far they are from those of all tokens fed
        at once: what rounding alone does to this base, a tenth of a per cent over 30 layers in 16 bits."""
        ids = torch.arange(1, _CHECK_TOKENS + 1, device=self.device)[None] * 7
        with torch.inference_mode():
            at_once = self.model(input_ids=ids, use_cache=False).logits[0, -1].float().cpu()
            begun = self.model(input_ids=ids[:, :-1], use_cache=True).past_key_values
            alone = self.model(input_ids=ids[:, -1:], past_key_values=begun, use_cache=True).logits[0, -1].float().cpu()
        return alone, _disagreement(alone, at_once)

    def _check_against(self, reference: Any, rounding: float) -> None:
        tokens = [7 * i for i in range(1, _CHECK_TOKENS + 1)]
        row = self.cache.take(len(tokens))
        assert row is not None
        try:
            self.run([Segment(row, 0, -1, tokens[:-1], chain(len(tokens) - 1), {})])
            [(_, logits)] = self.run([Segment(row, len(tokens) - 1, -1, tokens[-1:], [-1], {}, written=True)])
            disagreement = _disagreement(logits, reference)
        except Exception as error:  # whatever a model that is built otherwise meets
            raise BaseModelError(f"这个基座的结构还不支持直接服务：{error}"[:300]) from error
        finally:
            self.cache.give_back(row)
        if not disagreement <= max(_DISAGREEMENT, rounding):
            raise BaseModelError(f"这个基座的注意力与众不同，直接服务会算错（一致性 {1 - disagreement:.4f}）。")


def _disagreement(logits: Any, others: Any) -> float:
    """One minus their cosine."""
    return 1.0 - float(F.cosine_similarity(logits, others, dim=0))


def _padded(tokens: int) -> int:
    """Rounded up to four binary digits, an eighth more at most: oneDNN makes and keeps code of its own for each number
    of tokens that its products meet, 3 MiB of it for an adapter's."""
    step = 1 << max(tokens.bit_length() - 4, 0)
    return -(-tokens // step) * step


def _depths(segment: Segment) -> list[int]:
    depths: list[int] = []
    for parent in segment.parents:
        depths.append(segment.start if parent < 0 else depths[parent] + 1)
    return depths


def _hides(segment: Segment) -> Any:
    """Which stored tokens a token must not attend to; shape (tokens, start + tokens)."""
    count = len(segment.tokens)
    if list(segment.parents) == chain(count):
        return torch.ones(count, segment.start + count, dtype=torch.bool).triu(segment.start + 1)
    hides = torch.ones(count, segment.start + count, dtype=torch.bool)
    hides[:, : segment.start] = False
    for i, parent in enumerate(segment.parents):
        if parent >= 0:
            hides[i, segment.start :] = hides[parent, segment.start :]
        hides[i, segment.start + i] = False
    return hides

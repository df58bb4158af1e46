"""Keys and values of what many prompts begin with: computed once for each adapter, then copied."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from fintunnel_server.inference.adapters import LoadedAdapter
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.model_pass import ModelPass, Segment, chain

__all__ = ["SharedPrefixes"]

_SHARE = 8  # at most an eighth of the KV cache's bound, beside it


class SharedPrefixes:
    def __init__(self, model: ModelPass) -> None:
        self._model = model
        self._saved: OrderedDict[tuple[LoadedAdapter | None, tuple[int, ...]], Any] = OrderedDict()

    def fill(self, sequence: CachedSequence) -> None:
        """Put what the prompt shares with others into its row. Computed always in the same pass alone, so that it does
        not depend on who came first."""
        assert sequence.row is not None
        cache, tokens = self._model.cache, sequence.shared_tokens
        key = (sequence.adapter, tokens)
        saved = self._saved.get(key)
        if saved is None:
            self._model.run([Segment(sequence.row, 0, sequence.number, tokens, chain(len(tokens)), {})])
            self._saved[key] = cache.copy_out(sequence.row, len(tokens))
            while len(self._saved) > 1 and self._tokens() > cache.max_tokens // _SHARE:
                self._saved.popitem(last=False)
        else:
            self._saved.move_to_end(key)
            cache.copy_in(sequence.row, saved)
        sequence.hold(len(tokens))

    def _tokens(self) -> int:
        return sum(len(tokens) for _, tokens in self._saved)

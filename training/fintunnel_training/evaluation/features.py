"""What the baselines know of a piece of news: its characters, and the market before it. Nothing from after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from fintunnel.wire import Context
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfTransformer

from fintunnel_training.evaluation.arrays import Floats

__all__ = ["Known", "TextFeatures", "market_features"]

_FEATURE_BITS = 18
_TEXTS_AT_ONCE = 4096  # while a text's characters are counted they take ten times the memory of their counts


class Known(NamedTuple):
    """What was known of a piece of news when it came out. `hour`: of the day in Beijing, -1 where no time is given."""

    text: str
    hour: int
    importance: int | None
    is_release: bool
    context: Context | None


def market_features(news: Sequence[Known]) -> Floats:
    """Moves before in units of the typical move, the hour, importance, whether it is a figure's release: shape
    (news, 30)."""
    moves = np.array(
        [
            (1.0, abs(at.pre_return) / at.typical_move, at.volatility / at.typical_move, 1e4 * at.typical_move)
            if (at := item.context) is not None
            else (0.0, 0.0, 0.0, 0.0)
            for item in news
        ]
    )
    about = np.array([(item.importance or 0, item.is_release) for item in news], dtype=np.float64)
    hours = np.array([item.hour for item in news])[:, None] == np.arange(24)
    return np.hstack([moves, about, hours])


class TextFeatures:
    """TF-IDF of single characters and of pairs (about a Chinese word; longer ones gained nothing), fitted on the
    training texts. Hashed, so that no vocabulary is kept."""

    def __init__(self, training: Sequence[str]) -> None:
        self._weights = TfidfTransformer(sublinear_tf=True)
        counts = _count_characters(training)
        self._weights.fit(counts)
        self.training = self._weights.transform(counts, copy=False)

    def of(self, texts: Sequence[str]) -> Any:
        """A sparse matrix, shape (texts, 2**18)."""
        return self._weights.transform(_count_characters(texts), copy=False)


def _count_characters(texts: Sequence[str]) -> csr_matrix:
    """What HashingVectorizer counts, in a quarter of its time. Shape (texts, 2**18)."""
    starts = range(0, len(texts), _TEXTS_AT_ONCE)
    return vstack([_count_some(texts[start : start + _TEXTS_AT_ONCE]) for start in starts], format="csr")


def _count_some(texts: Sequence[str]) -> csr_matrix:
    lowered = [text.lower() for text in texts]
    codes = np.frombuffer("".join(lowered).encode("utf-32-le", "replace"), np.uint32)
    owner = np.repeat(np.arange(len(texts), dtype=np.int32), [len(text) for text in lowered])
    paired = owner[1:] == owner[:-1]
    rows = np.concatenate([owner, owner[1:][paired]])
    columns = np.concatenate([_hash(codes), _hash(codes[:-1] << np.uint64(21) | codes[1:])[paired]])
    # Doubles, because LinearSVC would make a copy of anything else.
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), 2**_FEATURE_BITS))


def _hash(terms: NDArray[Any]) -> NDArray[np.int32]:
    """Fibonacci hashing: the upper bits of the product depend on all bits of the term."""
    return ((terms * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _FEATURE_BITS)).astype(np.int32)

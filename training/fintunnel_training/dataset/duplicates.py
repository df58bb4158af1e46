"""Near-duplicates: reposts and corrections of one text, which must not stand on both sides of a split."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence

from datasketch import MinHash, MinHashLSH

__all__ = ["cluster_texts", "normalised"]

_N = 3  # characters a shingle: about a Chinese word and a half
_PERMUTATIONS = 64
_SEED = 1
_MARKS = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Width, case, spaces and punctuation taken away: what is left equal is the same text. A decimal point stays."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _MARKS.sub("", re.sub(r"(?<=\d)\.(?=\d)", "点", plain))


def cluster_texts(texts: Sequence[str], threshold: float = 0.7) -> list[int]:
    """Cluster by the Jaccard similarity of character 3-grams.

    A text joins the cluster of the earliest text that it resembles by at least `threshold`; otherwise it begins one.
    MinHash finds candidates, the similarity itself is then computed exactly. Only the first text of a cluster is
    compared with, so that time grows with the number of texts.

    Returns:
        per text the index of the first text of its cluster.
    """
    index = MinHashLSH(threshold=max(0.1, threshold - 0.1), num_perm=_PERMUTATIONS)
    empty = MinHash(num_perm=_PERMUTATIONS, seed=_SEED, hashfunc=zlib.crc32)
    same: dict[str, int] = {}
    clusters = []
    for number, text in enumerate(texts):
        plain = normalised(text)
        if plain in same:
            clusters.append(same[plain])
            continue
        grams = _shingles(plain)
        signature = empty.copy()
        signature.update_batch([gram.encode() for gram in grams])
        similar = [
            first
            for first in index.query(signature)
            if _jaccard(grams, _shingles(normalised(texts[first]))) >= threshold
        ]
        if similar:
            cluster = min(similar)
        else:
            cluster = number
            index.insert(number, signature)
        same[plain] = cluster
        clusters.append(cluster)
    return clusters


def _shingles(plain: str) -> frozenset[str]:
    return frozenset(plain[i : i + _N] for i in range(max(1, len(plain) - _N + 1)))


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second)

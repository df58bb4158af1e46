"""Near-duplicates: reposts and corrections of one text, which must not stand on both sides of a split."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence

from datasketch import MinHash, MinHashLSH

__all__ = ["SIMILARITY", "cluster_texts", "normalised"]

_N = 3  # characters a shingle: about a Chinese word and a half
# 14 bands of 4: of two texts with a similarity of 0.6, 0.7 and 0.8, 86, 98 and 99.9 % become candidates.
_BANDS = (14, 4)
_PERMUTATIONS = 56
_SEED = 1
_MARKS = re.compile(r"[\W_]+")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_RANGE = re.compile(r"(?<=[\d%])\s*[-~\u2013\u2014]\s*(?=\d)")
_MINUS = re.compile(r"(?<![\d%\w])[-\u2212](?=\d)|(?<=[^\x00-\x7f])[-\u2212](?=\d)")
_LONGEST = 4000  # characters: what a row can hold
SIMILARITY = 0.6  # from which on two texts are one told twice


def normalised(text: str) -> str:
    """Width, case, spaces and punctuation taken away: what is left equal is the same text. Decimal points, minus signs
    and ranges stay."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    plain = _RANGE.sub("至", _MINUS.sub("负", plain))
    return _MARKS.sub("", _POINT.sub("点", plain))


def cluster_texts(texts: Sequence[str], threshold: float = SIMILARITY) -> list[int]:
    """Cluster by the Jaccard similarity of character 3-grams.

    A text joins the cluster of the earliest text that it resembles by at least `threshold`, whichever cluster that
    one is in; otherwise it begins one. So whatever resembles an earlier text is in a cluster that begins no later than
    that text. MinHash finds candidates, the similarity itself is then computed exactly.

    Returns:
        per text the index of the first text of its cluster.
    """
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
    empty = MinHash(num_perm=_PERMUTATIONS, seed=_SEED, hashfunc=zlib.crc32)
    same: dict[str, int] = {}
    clusters: list[int] = []
    for number, text in enumerate(texts):
        plain = normalised(text)
        if plain in same:
            clusters.append(same[plain])
            continue
        grams = _shingles(plain)
        signature = empty.copy()
        signature.update_batch([gram.encode() for gram in grams])
        similar = (
            first
            for first in sorted(index.query(signature))
            if _jaccard(grams, _shingles(normalised(texts[first]))) >= threshold
        )
        earliest = next(similar, None)
        cluster = number if earliest is None else clusters[earliest]
        index.insert(number, signature)
        same[plain] = cluster
        clusters.append(cluster)
    return clusters


def _shingles(plain: str) -> frozenset[str]:
    return frozenset(plain[i : i + _N] for i in range(max(1, len(plain) - _N + 1)))


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second)

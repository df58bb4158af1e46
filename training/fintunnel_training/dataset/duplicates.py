"""Near-duplicates: reposts and corrections of one text, which must not stand on both sides of a split."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from datasketch import MinHash

__all__ = ["SIMILARITY", "cluster_texts", "normalised"]

_N = 3  # characters a shingle: about a Chinese word and a half
# 14 bands of 4: of two texts with a similarity of 0.6, 0.7 and 0.8, 86, 98 and 99.9 % become candidates.
_BANDS = 14
_PERMUTATIONS = 4 * _BANDS
_SEED = 1
_MARKS = re.compile(r"[\W_]+")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_RANGE = re.compile(r"(?<=[\d%])\s*[-~\u2013\u2014]\s*(?=\d)")
_MINUS = re.compile(r"(?<![\d%\w])[-\u2212](?=\d)|(?<=[^\x00-\x7f])[-\u2212](?=\d)")
_LONGEST = 4000  # characters: what a row can hold
SIMILARITY = 0.6  # from which on two texts are one told twice


@lru_cache(maxsize=50_000)  # asked for by exact and by near duplicates
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
    plain = [normalised(text) for text in texts]
    first_of: dict[str, int] = {}
    for number, text in enumerate(plain):
        first_of.setdefault(text, number)
    numbers = list(first_of.values())  # of the texts that differ, ascending
    clusters = {number: number for number in numbers}
    for number, candidates in zip(numbers, _candidates([plain[number] for number in numbers]), strict=True):
        grams = _shingles(plain[number]) if candidates else frozenset[str]()
        for earlier in candidates:
            if _jaccard(grams, _shingles(plain[numbers[earlier]])) >= threshold:
                clusters[number] = clusters[numbers[earlier]]
                break
    return [clusters[first_of[text]] for text in plain]


def _candidates(texts: Sequence[str]) -> Iterator[list[int]]:
    """Per text the earlier ones, ascending, whose signatures equal its own in some band."""
    shingles = ([gram.encode() for gram in _shingles(text)] for text in texts)
    hashes = MinHash.generator(shingles, num_perm=_PERMUTATIONS, seed=_SEED, hashfunc=zlib.crc32)
    signatures = np.array([each.hashvalues for each in hashes]).reshape(-1, _PERMUTATIONS)
    alike: list[list[list[int]]] = [[] for _ in texts]  # per text the groups that it is in
    for band in np.split(signatures, _BANDS, axis=1):
        order = np.lexsort(band.T)
        changes = (band[order][1:] != band[order][:-1]).any(axis=1)
        edges = np.concatenate(([0], np.flatnonzero(changes) + 1, [len(order)]))
        shared = np.flatnonzero(np.diff(edges) > 1)  # few texts share a band with any other
        for start, end in zip(edges[shared].tolist(), edges[shared + 1].tolist(), strict=True):
            members = order[start:end].tolist()
            for member in members:
                alike[member].append(members)
    for number, groups in enumerate(alike):
        yield sorted({earlier for group in groups for earlier in group if earlier < number})


def _shingles(plain: str) -> frozenset[str]:
    return frozenset(plain[i : i + _N] for i in range(max(1, len(plain) - _N + 1)))


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second)

"""In which order a rater sees the pairs, and on which side each system's answer stands."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Place", "places_for"]


@dataclass(frozen=True)
class Place:
    """`key`: of the pair. `first_is_left`: where its first system's answer stands."""

    key: str
    first_is_left: bool


def places_for(rater: str, keys: Sequence[str], seed: str) -> list[Place]:
    """Each pair once, as if by chance, and for the same rater always the same.

    The first system stands left in as many pairs as right, give or take one. Nobody who does not know `seed` can tell
    where it stands. Pairs that are added at the end of `keys` change nothing for the others.

    Args:
        keys: in the order of the file.
    """
    # Of each two neighbours in the file one has it left: balanced whatever is added. The order shown hides which two.
    places = [
        Place(key, bool(_draw(seed, rater, "side", str(at // 2)) % 2) != bool(at % 2)) for at, key in enumerate(keys)
    ]
    return sorted(places, key=lambda place: _draw(seed, rater, "order", place.key))


def _draw(seed: str, *what: str) -> int:
    return int.from_bytes(hmac.digest(seed.encode(), json.dumps(what).encode(), hashlib.sha256))

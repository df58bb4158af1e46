"""What crosses between the rating page and the app: sides, never systems."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fintunnel.rating_file import RatedAnswer, RaterName, Scale, Score
from fintunnel.wire.model import Number, WireModel
from pydantic import Field

__all__ = ["GivenRating", "Pair", "PairAnswer", "Progress", "SideRating", "SideVerdict"]

SideVerdict = Literal["left", "right", "equal"]
_DAY = 86_400


class GivenRating(WireModel):
    """`left`, `right`: the scores of those scales that were given. `seconds`: spent on the pair so far."""

    verdict: SideVerdict
    left: dict[Scale, Score] = {}
    right: dict[Scale, Score] = {}
    seconds: Annotated[Number, Field(ge=0, le=_DAY, allow_inf_nan=False)]


class SideRating(GivenRating):
    """What the page posts."""

    pair: str = Field(max_length=64)
    rater: RaterName


class Pair(WireModel):
    """`position`: from 1, in this rater's order. `question`: what was asked, as in `/analyze`, without who was asked.
    `rating`: what this rater has said of it."""

    pair: str
    position: int
    question: dict[str, Any]
    left: RatedAnswer
    right: RatedAnswer
    rating: GivenRating | None


class Progress(WireModel):
    """Pairs: `rated` by this rater, of `total`."""

    rated: int
    total: int


class PairAnswer(Progress):
    """`pair`: null where the rater has rated all."""

    pair: Pair | None

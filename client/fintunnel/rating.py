"""Pairs of answers that people compare blindly, and what they say of them.

The names of the systems stand in a pair; what raters get to see is the rating page's business.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from fintunnel.wire import AnalyzeRequest
from fintunnel.wire.model import Integer

__all__ = ["SCALES", "RatedAnswer", "RaterName", "Rating", "RatingPair", "Scale", "Score", "Verdict"]

Scale = Literal["wording", "reasoning", "faithfulness", "usefulness"]
SCALES: tuple[Scale, ...] = get_args(Scale)
Verdict = Literal["first", "second", "equal"]  # the pair's systems, whichever side of the screen they stood on
Score = Annotated[Integer, Field(ge=1, le=5)]


def _visible(name: str) -> str:
    if not name.isprintable():
        raise ValueError("名字里有看不见的字符")
    return name


_Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
_System = Annotated[str, StringConstraints(min_length=1, max_length=200)]
RaterName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), AfterValidator(_visible)
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RatedAnswer(_Record):
    """`lines`: the labels or citations, one a line, in Chinese as a rater reads them; may be empty, as may `text`.
    Neither may tell which system it is from."""

    lines: list[str] = []
    text: str


class RatingPair(_Record):
    """Two systems' answers to one request. `first`, `second`: the systems' names."""

    key: _Key
    request: AnalyzeRequest
    first: _System
    second: _System
    first_answer: RatedAnswer
    second_answer: RatedAnswer

    @classmethod
    def of(
        cls, request: AnalyzeRequest, first: str, second: str, first_answer: RatedAnswer, second_answer: RatedAnswer
    ) -> Self:
        """With a key that is the same whenever all of it is: the pair's sha256."""
        parts = [request.model_dump_json(), first, second, first_answer.model_dump_json()]
        content = json.dumps([*parts, second_answer.model_dump_json()])
        key = hashlib.sha256(content.encode()).hexdigest()
        return cls(
            key=key,
            request=request,
            first=first,
            second=second,
            first_answer=first_answer,
            second_answer=second_answer,
        )


class Rating(_Record):
    """What one rater said of one pair. `scores_first`, `scores_second`: 1 (poor) to 5 (good) of the scales that were
    given. `seconds`: how long the pair was looked at. `at`: when it was last changed."""

    pair: _Key
    rater: RaterName
    verdict: Verdict
    scores_first: dict[Scale, Score] = {}
    scores_second: dict[Scale, Score] = {}
    seconds: float = Field(ge=0, allow_inf_nan=False)
    at: AwareDatetime

"""The pairs one after the other, without a word about whose answers they are, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fintunnel.rating_file import RatedAnswer, RaterName, Rating, RatingFile, RatingPair, Verdict
from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError
from fintunnel_server.rate.messages import GivenRating, Pair, PairAnswer, Progress, SideRating, SideVerdict
from fintunnel_server.rate.order import Place, places_for

__all__ = ["ratings_router"]

# Not all of the request: which adapter was asked would tell whose answer it is.
_SHOWN = {"task", "text", "published_at", "importance", "figures", "context", "question", "passages"}
_Rater = Annotated[RaterName, Query()]


def ratings_router(file: RatingFile) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    # Plain functions: they wait for the disk, each in a thread of its own.
    @router.get("/pairs")
    def next_pair(rater: _Rater) -> PairAnswer:
        """The first in this rater's order that they have not rated."""
        places, ratings = _places(file, rater), _ratings(file, rater)
        at = next((at for at, place in enumerate(places) if place.key not in ratings), None)
        pair = None if at is None else _shown(file, places[at], at, None)
        return PairAnswer(rated=len(ratings), total=len(places), pair=pair)

    @router.get("/pairs/{position}")
    def pair_at(position: int, rater: _Rater) -> PairAnswer:
        places, ratings = _places(file, rater), _ratings(file, rater)
        if not 1 <= position <= len(places):
            raise ApiError(404, ErrorCode.NOT_FOUND, "没有这一组")
        place = places[position - 1]
        pair = _shown(file, place, position - 1, ratings.get(place.key))
        return PairAnswer(rated=len(ratings), total=len(places), pair=pair)

    @router.post("/ratings")
    def rate(given: SideRating) -> Progress:
        places = _places(file, given.rater)
        place = next((each for each in places if each.key == given.pair), None)
        if place is None:
            raise ApiError(404, ErrorCode.NOT_FOUND, "没有这一组", "pair")
        file.rate(_by_system(given, place))
        return Progress(rated=len(_ratings(file, given.rater)), total=len(places))

    return router


def _places(file: RatingFile, rater: str) -> list[Place]:
    return places_for(rater, file.keys(), file.seed)


def _ratings(file: RatingFile, rater: str) -> dict[str, Rating]:
    """Of the pairs that are shown."""
    shown = set(file.keys())
    return {rating.pair: rating for rating in file.ratings(rater) if rating.pair in shown}


def _shown(file: RatingFile, place: Place, at: int, rating: Rating | None) -> Pair:
    pair = file.pair(place.key)
    assert pair is not None  # pairs are never taken out
    left, right = _sides(pair, place)
    question = pair.request.model_dump(mode="json", include=_SHOWN, exclude_none=True)
    given = None if rating is None else _by_side(rating, place)
    return Pair(pair=place.key, position=at + 1, question=question, left=left, right=right, rating=given)


def _sides(pair: RatingPair, place: Place) -> tuple[RatedAnswer, RatedAnswer]:
    answers = (pair.first_answer, pair.second_answer)
    return answers if place.first_is_left else answers[::-1]


def _by_system(given: SideRating, place: Place) -> Rating:
    by_side: dict[SideVerdict, Verdict] = {"left": "first", "right": "second", "equal": "equal"}
    if not place.first_is_left:
        by_side |= {"left": "second", "right": "first"}
    first, second = (given.left, given.right) if place.first_is_left else (given.right, given.left)
    return Rating(
        pair=given.pair,
        rater=given.rater,
        verdict=by_side[given.verdict],
        scores_first=first,
        scores_second=second,
        seconds=given.seconds,
        at=datetime.now(UTC),
    )


def _by_side(rating: Rating, place: Place) -> GivenRating:
    by_system: dict[Verdict, SideVerdict] = {"first": "left", "second": "right", "equal": "equal"}
    if not place.first_is_left:
        by_system |= {"first": "right", "second": "left"}
    left, right = rating.scores_first, rating.scores_second
    if not place.first_is_left:
        left, right = right, left
    return GivenRating(verdict=by_system[rating.verdict], left=left, right=right, seconds=rating.seconds)

"""People as judges: which pairs they see, and what their verdicts say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean

import numpy as np
from fintunnel.chinese import LABELS_ZH
from fintunnel.rating_file import SCALES, RatedAnswer, Rating, RatingFile, RatingPair, Scale
from fintunnel.wire import NewsAnalysis, ReportAnswer

from fintunnel_training.comparison.cases import Case
from fintunnel_training.comparison.judging import MIN_ROWS
from fintunnel_training.comparison.outcomes import Outcome
from fintunnel_training.comparison.result import Estimate, People, RaterCounts, Said
from fintunnel_training.evaluation.arrays import Floats
from fintunnel_training.evaluation.bootstrap import Resampling
from fintunnel_training.evaluation.label_statistics import mean_of

__all__ = ["RATINGS", "people_of", "rated_pairs"]

RATINGS = "ratings.sqlite"
_NO_INTERVAL: Said = ("一致性只给数值，不给区间", "agreement is given without an interval")
_VERDICTS = ("first", "equal", "second")
_POINTS = {"first": 1.0, "equal": 0.5, "second": 0.0}


def rated_pairs(cases: Sequence[Case], first: Outcome, second: Outcome) -> list[RatingPair]:
    """Of `cases`, what both answered with text. Another run's other answers are other pairs."""
    pairs = []
    for case in cases:
        answers = [outcome.answers.get(case.key) for outcome in (first, second)]
        shown = [_shown(answer) for answer in answers if answer is not None]
        if len(shown) == 2:
            pairs.append(RatingPair.of(case.request, first.name, second.name, shown[0], shown[1]))
    return pairs


def people_of(files: Sequence[Path], keys: set[str], seeds: tuple[int, ...], resamples: int) -> People | None:
    """What all raters of all files said of the pairs of `keys`; None where nobody has rated one.

    Raises:
        ConfigurationError: a file is damaged or another kind of file.
    """
    pairs: dict[str, RatingPair] = {}
    latest: dict[tuple[str, str], Rating] = {}
    for path in files:
        with RatingFile(path, create=False) as file:
            pairs |= {pair.key: pair for pair in file.pairs()}
            for rating in file.ratings():
                known = latest.get((rating.pair, rating.rater))
                if known is None or known.at < rating.at:
                    latest[rating.pair, rating.rater] = rating
    ratings = [rating for rating in latest.values() if rating.pair in keys]
    if not ratings:
        return None
    first, second = pairs[ratings[0].pair].first, pairs[ratings[0].pair].second  # the same in all of one comparison
    return People(
        first=first,
        second=second,
        pairs=len({rating.pair for rating in ratings}),
        ratings=len(ratings),
        raters=_raters(ratings),
        win_rate=_mean([(rating.pair, _POINTS[rating.verdict]) for rating in ratings], seeds, resamples),
        kappa=_kappa(ratings),
        scales={
            scale: {
                first: _mean(_scores(ratings, scale, "scores_first"), seeds, resamples),
                second: _mean(_scores(ratings, scale, "scores_second"), seeds, resamples),
            }
            for scale in SCALES
        },
        kappa_scales={scale: _kappa_of_scale(ratings, scale) for scale in SCALES},
    )


def _shown(answer: NewsAnalysis | ReportAnswer) -> RatedAnswer:
    if isinstance(answer, ReportAnswer):
        cited = "、".join(f"[{index}]" for index in answer.citations) or "无"
        return RatedAnswer(lines=[f"引用：{cited}"], text=answer.answer or "")
    lines = [f"影响程度：{LABELS_ZH[answer.impact]}", f"短线方向：{LABELS_ZH[answer.direction]}"]
    if answer.signals is not None:
        lines.append("信号：" + ("、".join(LABELS_ZH[signal] for signal in answer.signals) or "无"))
    return RatedAnswer(lines=lines, text=answer.rationale or "")


def _raters(ratings: Sequence[Rating]) -> list[RaterCounts]:
    names = sorted({rating.rater for rating in ratings})
    said = {name: [rating.verdict for rating in ratings if rating.rater == name] for name in names}
    return [
        RaterCounts(
            name=name,
            pairs=len(verdicts),
            better=verdicts.count("first"),
            equal=verdicts.count("equal"),
            worse=verdicts.count("second"),
        )
        for name, verdicts in said.items()
    ]


def _mean(points: Sequence[tuple[str, float]], seeds: tuple[int, ...], resamples: int) -> Estimate:
    """The mean over ratings, and its interval from resamples of whole pairs: one question is the same to all raters."""
    if not points:
        return Estimate(value=None, why_not=("没有人评过", "nobody rated it"))
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pair for pair, _ in points))}
    statistic = mean_of(np.array([value for _, value in points]), np.array([numbers[pair] for pair, _ in points]))
    if len(numbers) < MIN_ROWS:
        reason = (
            f"只评了 {len(numbers)} 对，少于 {MIN_ROWS} 对，不给区间",
            f"only {len(numbers)} pairs were rated, fewer than {MIN_ROWS}: no interval",
        )
        return Estimate(value=statistic.value, rows=len(points), why_not=reason)
    interval = Resampling(len(numbers), resamples, seeds).interval(statistic)
    assert interval is not None  # a mean always has one
    return Estimate(value=statistic.value, low=interval.low, high=interval.high, rows=len(points))


def _scores(ratings: Sequence[Rating], scale: Scale, of: str) -> list[tuple[str, float]]:
    """`of`: the field of a rating that holds one system's scores."""
    return [(rating.pair, float(getattr(rating, of)[scale])) for rating in ratings if scale in getattr(rating, of)]


def _kappa(ratings: Sequence[Rating]) -> Estimate:
    said = _by_rater([(rating.rater, rating.pair, _VERDICTS.index(rating.verdict)) for rating in ratings])
    value, pairs = _mean_kappa(said, list(range(len(_VERDICTS))), weights=None)
    if value is None:
        reason = (
            "要有两个人评过至少两对相同的回答，而且看法不全相同",
            "it takes two people who rated two of the same pairs and did not say one and the same of all",
        )
        return Estimate(value=None, why_not=reason)
    return Estimate(value=value, rows=pairs, why_not=_NO_INTERVAL)


def _kappa_of_scale(ratings: Sequence[Rating], scale: Scale) -> float | None:
    """Each answer that two people scored is one item: both sides of a pair count."""
    given = []
    for rating in ratings:
        for side, scores in (("first", rating.scores_first), ("second", rating.scores_second)):
            if scale in scores:
                given.append((rating.rater, f"{rating.pair} {side}", scores[scale]))
    return _mean_kappa(_by_rater(given), [1, 2, 3, 4, 5], weights="linear", least=4)[0]


def _by_rater(given: Sequence[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    said: dict[str, dict[str, int]] = defaultdict(dict)
    for rater, item, value in given:
        said[rater][item] = value
    return said


def _mean_kappa(
    said: dict[str, dict[str, int]], labels: list[int], weights: str | None, least: int = 2
) -> tuple[float | None, int]:
    """Cohen's kappa, mean over all pairs of raters who share at least `least` items, and how many items they share
    together. None where no two of them do, or nobody ever differs from anybody in anything."""
    from sklearn.metrics import cohen_kappa_score

    values: list[float] = []
    items: set[str] = set()
    for one, other in combinations(sorted(said), 2):
        shared = sorted(said[one].keys() & said[other].keys())
        if len(shared) < least:
            continue
        answers: list[Floats] = [np.array([said[name][item] for item in shared]) for name in (one, other)]
        if len(set(np.concatenate(answers).tolist())) < 2:
            continue  # both gave one and the same answer to everything: chance alone would agree as well
        values.append(float(cohen_kappa_score(answers[0], answers[1], labels=labels, weights=weights)))
        items |= set(shared)
    return (mean(values), len(items)) if values else (None, 0)

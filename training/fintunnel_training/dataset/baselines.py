"""What a model has to beat: majority class, character TF-IDF + LinearSVC, logistic regression on the market before.

Trained on all training events and judged on the test events, in their natural class mix. Intervals are 95 %
percentile intervals of a bootstrap that draws whole days (Beijing time), since events of one day share their market.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fintunnel.wire import DIRECTIONS, IMPACTS, Edges
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fintunnel_training.dataset.labels import LabelledEvent, direction_label, impact_label

__all__ = ["bootstrap_interval", "macro_f1", "measure_baselines", "roc_auc"]

RESAMPLES = 1000
_MIN_EVENTS = 30  # fewer than this, on either side, say nothing
_FEATURE_BITS = 18
_TEXTS_AT_ONCE = 4096  # while a text's characters are counted they take ten times the memory of their counts
_BEIJING_MIN = 8 * 60  # ahead of UTC

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def measure_baselines(parts: dict[str, list[LabelledEvent]], edges: Edges, seed: int = 0) -> dict[str, Any] | None:
    """Figures of each baseline on the test events: {task: {baseline: {measure, value, interval}}}; None where there
    are too few events to judge."""
    train, test = parts["train"], parts["test"]
    if min(len(train), len(test)) < _MIN_EVENTS:
        return None
    days = _days(test)
    impacts = [[IMPACTS.index(impact_label(item.reaction, edges)) for item in part] for part in (train, test)]
    directions = [[DIRECTIONS.index(direction_label(item.reaction, edges)) for item in part] for part in (train, test)]
    result: dict[str, Any] = {"test_events": len(test), "test_days": int(days.max()) + 1, "resamples": RESAMPLES}
    texts = _text_features([item.event.text for item in train], [item.event.text for item in test])
    for task, (trained, truth) in {"direction": directions, "impact": impacts}.items():
        known, answers = np.array(trained), np.array(truth)
        majority = np.full(len(answers), np.bincount(known).argmax())
        guesses = {"majority": majority}
        if len(set(trained)) > 1:
            guesses["tfidf_linear_svc"] = (
                LinearSVC(C=0.1, tol=1e-3, random_state=seed).fit(texts[0], known).predict(texts[1])
            )
        result[task] = {name: _f1_figure(answers, guess, days, seed) for name, guess in guesses.items()}
    high = IMPACTS.index("high")
    known, answers = np.array(impacts[0]) == high, np.array(impacts[1]) == high
    if 0 < known.sum() < len(known) and 0 < answers.sum() < len(answers):
        model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
        scores = model.fit(_market_features(train), known).predict_proba(_market_features(test))[:, 1]
        result["impact"]["logistic_regression_high"] = _auc_figure(answers, scores, days, seed)
    return result


def bootstrap_interval(measure: Callable[[Floats], Floats], days: Ints, seed: int) -> tuple[float, float]:
    """95 % percentile interval of a measure over resamples of whole days.

    Args:
        measure: from how often each day was drawn, shape (resamples, days), to one value per resample.
        days: per event the number of its day, 0 to days - 1.
    """
    count = int(days.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    values = measure(draws.astype(np.float64))
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (np.nan, np.nan)
    return float(low), float(high)


def macro_f1(pairs: Floats) -> Floats:
    """The mean of the classes' F1 from counts of (truth, guess), shape (…, classes, classes); a class that is neither
    there nor guessed counts 0, as in scikit-learn."""
    hits = np.diagonal(pairs, axis1=-2, axis2=-1)
    totals = pairs.sum(-2) + pairs.sum(-1)
    f1: Floats = np.divide(2 * hits, totals, out=np.zeros_like(totals), where=totals > 0)
    mean: Floats = f1.mean(-1)
    return mean


def roc_auc(positive: Floats, negative: Floats) -> Floats:
    """The chance that a true one scores above a false one, ties half, from counts of true and false ones at each score
    in ascending order, shape (…, scores); NaN where one of the two is missing."""
    below = np.cumsum(negative, -1) - negative
    pairs = positive.sum(-1) * negative.sum(-1)
    with np.errstate(invalid="ignore"):
        area: Floats = (positive * (below + negative / 2)).sum(-1) / pairs
    return area


def _f1_figure(truth: Ints, guess: Ints, days: Ints, seed: int) -> dict[str, Any]:
    classes, count = len(IMPACTS), int(days.max()) + 1
    by_day = np.zeros((count, classes, classes))
    np.add.at(by_day, (days, truth, guess), 1.0)
    interval = bootstrap_interval(lambda draws: macro_f1(np.tensordot(draws, by_day, 1)), days, seed)
    return _figure("macro_f1", float(macro_f1(by_day.sum(0))), interval)


def _auc_figure(truth: NDArray[np.bool_], scores: Floats, days: Ints, seed: int) -> dict[str, Any]:
    order = np.argsort(scores, kind="stable")
    # Where each distinct score begins among the sorted ones.
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    true, false = truth[order].astype(np.float64), (~truth[order]).astype(np.float64)

    def area(weights: Floats) -> Floats:
        return roc_auc(np.add.reduceat(weights * true, starts), np.add.reduceat(weights * false, starts))

    def measure(draws: Floats) -> Floats:
        # One resample at a time: all at once would be resamples x events numbers.
        return np.array([area(draw[days][order]) for draw in draws])

    return _figure("roc_auc", float(area(np.ones(len(truth)))), bootstrap_interval(measure, days, seed))


def _figure(name: str, value: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"measure": name, "value": round(value, 4), "interval": [round(end, 4) for end in interval]}


def _days(events: Sequence[LabelledEvent]) -> Ints:
    dates = [(item.event.minute + _BEIJING_MIN) // (24 * 60) for item in events]
    numbers: Ints = np.unique(dates, return_inverse=True)[1]
    return numbers


def _text_features(train: Sequence[str], test: Sequence[str]) -> tuple[Any, Any]:
    weights = TfidfTransformer(sublinear_tf=True)
    known = _count_characters(train)
    weights.fit(known)
    return weights.transform(known, copy=False), weights.transform(_count_characters(test), copy=False)


def _count_characters(texts: Sequence[str]) -> csr_matrix:
    """Counts of single characters and of pairs, shape (texts, 2**18): what HashingVectorizer counts, in a quarter of
    its time. Pairs are about a Chinese word; longer ones gained nothing. Hashed, so that no vocabulary is kept."""
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


def _market_features(events: Sequence[LabelledEvent]) -> Floats:
    """Moves before in units of the typical move, the hour, importance: shape (events, 31)."""
    moves = np.array(
        [
            (1.0, abs(at.pre_return) / at.typical_move, at.volatility / at.typical_move, 1e4 * at.typical_move)
            if (at := item.context) is not None
            else (0.0, 0.0, 0.0, 0.0)
            for item in events
        ]
    )
    about = [
        (item.event.importance or 0, item.event.kind == "calendar", item.event.figures is not None) for item in events
    ]
    hours = np.array([(item.event.minute + _BEIJING_MIN) // 60 % 24 for item in events])
    return np.hstack([moves, np.array(about, dtype=np.float64), np.eye(24)[hours]])

"""Measures as functions of sums over rows, so that they can be taken of a thousand resamples at once.

Every function takes sums of shape (…, k) and gives one value for each of the leading places; NaN where a measure has no
meaning (a class that is not there). Definitions are scikit-learn's.
"""

from __future__ import annotations

import numpy as np

from fintunnel_training.evaluation.arrays import Floats

__all__ = ["accuracy", "macro_f1", "matthews", "recalls", "roc_auc"]


def macro_f1(pairs: Floats) -> Floats:
    """The mean of the classes' F1 from counts of (truth, guess), shape (…, classes, classes); a class that is neither
    there nor guessed counts 0."""
    hits = np.diagonal(pairs, axis1=-2, axis2=-1)
    totals = pairs.sum(-2) + pairs.sum(-1)
    f1: Floats = np.divide(2 * hits, totals, out=np.zeros_like(totals), where=totals > 0)
    mean: Floats = f1.mean(-1)
    return mean


def matthews(pairs: Floats) -> Floats:
    """Matthews' correlation for several classes (Gorodkin 2004) from the same counts: 0 for guesses that know nothing,
    also where only one class is guessed; NaN where only one class is there."""
    truth, guess, count = pairs.sum(-1), pairs.sum(-2), pairs.sum((-2, -1))
    hits = np.diagonal(pairs, axis1=-2, axis2=-1).sum(-1)
    covariance = hits * count - (truth * guess).sum(-1)
    spread_of_guess = count**2 - (guess**2).sum(-1)
    spread_of_truth = count**2 - (truth**2).sum(-1)
    # Counts that were added up in doubles: what is zero but for rounding is zero.
    varied = spread_of_guess > 1e-9 * count**2
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = np.where(varied, covariance / np.sqrt(spread_of_guess * spread_of_truth), 0.0)
    return np.where(spread_of_truth > 0, value, np.nan)


def accuracy(pairs: Floats) -> Floats:
    share: Floats = np.diagonal(pairs, axis1=-2, axis2=-1).sum(-1) / pairs.sum((-2, -1))
    return share


def recalls(pairs: Floats) -> Floats:
    """Of each class, shape (…, classes)."""
    with np.errstate(invalid="ignore"):
        share: Floats = np.diagonal(pairs, axis1=-2, axis2=-1) / pairs.sum(-1)
    return share


def roc_auc(positive: Floats, negative: Floats) -> Floats:
    """The chance that a true one scores above a false one, ties half, from counts of true and false ones at each score
    in ascending order, shape (…, scores); NaN where one of the two is missing."""
    below = np.cumsum(negative, -1) - negative
    pairs = positive.sum(-1) * negative.sum(-1)
    with np.errstate(invalid="ignore"):
        area: Floats = (positive * (below + negative / 2)).sum(-1) / pairs
    return area

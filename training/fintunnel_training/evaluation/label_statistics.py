"""Predictions of one field against what followed, as statistics that can be resampled.

Arrays: `truth` (rows,) class numbers, `guesses` (rows, classes) the share of each class in a guess (one-hot, but for a
guess that is drawn at random), `probabilities` (rows, classes), `blocks` (rows,) from 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.bootstrap import Statistic
from fintunnel_training.evaluation.measures import roc_auc
from fintunnel_training.evaluation.reliability import confidence_bins

__all__ = [
    "binary_auc",
    "brier",
    "calibration_error",
    "calibration_error_by_chance",
    "mean_auc",
    "mean_of",
    "of_pairs",
    "pair_counts",
]

_CHANCE_DRAWS = 2000


def pair_counts(truth: Ints, guesses: Floats, blocks: Ints) -> Floats:
    """Counts of (truth, guess) in each block, shape (blocks, classes, classes)."""
    counts = np.zeros((int(blocks.max()) + 1, guesses.shape[1], guesses.shape[1]))
    np.add.at(counts, (blocks, truth), guesses)
    return counts


def of_pairs(counts: Floats, measure: Callable[[Floats], Floats]) -> Statistic:
    """A measure of `measures` that is made of counts of (truth, guess)."""
    blocks, classes, _ = counts.shape
    return Statistic(
        counts.reshape(blocks, classes * classes),
        lambda sums: measure(sums.reshape(*sums.shape[:-1], classes, classes)),
    )


def mean_of(values: Floats, blocks: Ints) -> Statistic:
    """The mean of one number a row."""
    sums = np.zeros((int(blocks.max()) + 1, 2))
    np.add.at(sums, blocks, np.stack([values, np.ones(len(values))], axis=1))
    return Statistic(sums, _ratio)


def _ratio(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Floats = sums[..., 0] / sums[..., 1]
    return ratio


def brier(truth: Ints, probabilities: Floats, blocks: Ints) -> Statistic:
    """Mean squared error summed over the classes, 0 to 2."""
    errors = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(1)
    return mean_of(errors, blocks)


def binary_auc(truth: NDArray[np.bool_], scores: Floats, blocks: Ints) -> Statistic:
    """The area under the ROC curve."""
    return mean_auc([truth], [scores], blocks)


def mean_auc(truths: list[NDArray[np.bool_]], scores: list[Floats], blocks: Ints) -> Statistic:
    """The mean of several areas: one class against the rest each, say."""
    tables = [_score_counts(truth, score, blocks) for truth, score in zip(truths, scores, strict=True)]
    widths = [table.shape[1] // 2 for table in tables]

    def mean(sums: Floats) -> Floats:
        areas, start = [], 0
        for width in widths:
            middle, end = start + width, start + 2 * width
            areas.append(roc_auc(sums[..., start:middle], sums[..., middle:end]))
            start = end
        value: Floats = np.mean(areas, axis=0)
        return value

    return Statistic(hstack(tables, format="csr"), mean)


def _score_counts(truth: NDArray[np.bool_], scores: Floats, blocks: Ints) -> csr_array:
    """How many true ones stand at each distinct score, in ascending order, and how many false ones: shape
    (blocks, 2 x scores), with as many entries as rows."""
    levels, place = np.unique(scores, return_inverse=True)
    columns = place + np.where(truth, 0, len(levels))
    shape = (int(blocks.max()) + 1, 2 * len(levels))
    return csr_array((np.ones(len(blocks)), (blocks, columns)), shape=shape)


def calibration_error(truth: Ints, probabilities: Floats, blocks: Ints) -> Statistic:
    """ECE of the likeliest class (Guo et al. 2017) over at most 10 bins of equal numbers of rows, cut on all rows."""
    confidence, right, bins = _binned(truth, probabilities)
    sums = np.zeros((int(blocks.max()) + 1, int(bins.max()) + 2))
    np.add.at(sums, (blocks, bins), confidence - right)
    np.add.at(sums, (blocks, np.full(len(blocks), -1)), 1.0)

    def error(sums: Floats) -> Floats:
        value: Floats = np.abs(sums[..., :-1]).sum(-1) / sums[..., -1]
        return value

    return Statistic(sums, error)


def calibration_error_by_chance(truth: Ints, probabilities: Floats, seed: int) -> tuple[float, float]:
    """The ECE of perfect probabilities with just this confidence on so many rows: its mean, and what 95 % stay under. A
    figure below it says nothing against the model."""
    confidence, _, bins = _binned(truth, probabilities)
    draws = np.random.default_rng(seed)
    members = np.eye(int(bins.max()) + 1)[bins]
    errors = [
        np.abs((confidence - (draws.random(len(confidence)) < confidence)) @ members).sum() / len(confidence)
        for _ in range(_CHANCE_DRAWS)
    ]
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def _binned(truth: Ints, probabilities: Floats) -> tuple[Floats, Floats, Ints]:
    """Confidence, whether it was right, and the bin of each row."""
    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == truth).astype(np.float64)
    bins = np.empty(len(confidence), dtype=np.int64)
    for number, part in enumerate(confidence_bins(confidence)):
        bins[part] = number
    return confidence, right, bins

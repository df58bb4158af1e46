"""How far probabilities can be believed: negative log likelihood, Brier score, expected calibration error, and the bins
of a reliability diagram.

Arrays: `probabilities` (rows, classes) with rows that sum to 1, `labels` (rows,) class numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fintunnel_training.evaluation.arrays import Floats, Ints

__all__ = ["BINS", "Measures", "confidence_bins", "measure", "reliability"]

BINS = 10
_TIE = 1e-9  # confidences that differ by less are one
_EPSILON = 1e-6  # a probability below this, 0 included, counts as this: its logarithm has to be finite


class Measures(NamedTuple):
    """Mean negative log likelihood (nats), Brier score (summed over classes), expected calibration error."""

    nll: float
    brier: float
    ece: float


def measure(probabilities: Floats, labels: Ints) -> Measures:
    truth = np.eye(probabilities.shape[1])[labels]
    chosen = np.maximum((probabilities * truth).sum(1), _EPSILON)
    confidence, accuracy, share = reliability(probabilities, labels)
    return Measures(
        nll=float(-np.log(chosen).mean()),
        brier=float(((probabilities - truth) ** 2).sum(1).mean()),
        ece=float((share * np.abs(confidence - accuracy)).sum()),
    )


def reliability(probabilities: Floats, labels: Ints) -> tuple[Floats, Floats, Floats]:
    """Mean confidence of the likeliest class, how often it was right, and the share of the rows, in each of at most
    `BINS` bins of about equal numbers of rows, from unsure to sure. With few rows a bin is noisy, and the error that
    sums them up (ECE, Guo et al. 2017) is above 0 even for perfect probabilities."""
    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    bins = confidence_bins(confidence)
    return (
        np.array([confidence[part].mean() for part in bins]),
        np.array([right[part].mean() for part in bins]),
        np.array([len(part) / len(confidence) for part in bins]),
    )


def confidence_bins(confidence: Floats) -> list[Ints]:
    """The rows' numbers in at most `BINS` bins of about equal numbers of rows, from unsure to sure. Rows of one
    confidence share a bin: their order means nothing."""
    order = np.argsort(confidence, kind="stable")
    ascending = confidence[order]
    sizes = [len(part) for part in np.array_split(order, BINS)]
    ends = {int(np.searchsorted(ascending, ascending[end - 1] + _TIE, "right")) for end in np.cumsum(sizes) if end}
    return np.split(order, sorted(ends - {len(order)}))

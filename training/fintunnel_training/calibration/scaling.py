"""Fits a temperature and class biases, and judges them on whole days that they were not fitted on.

Arrays: `probabilities` (rows, classes) with rows that sum to 1, `labels` (rows,) class numbers, `days` (rows,) any
numbers that grow with time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fintunnel_training.calibration.calibration_file import EPSILON
from fintunnel_training.evaluation.arrays import Floats, Ints

__all__ = [
    "Scaling",
    "fit_scaling",
    "fold_stretches",
    "out_of_fold",
    "scale",
]

FOLDS = 5
PRIOR_ROWS = 10.0
"""Strength of the pull towards the identity: log T and each bias are normal around 0 with variance 1 / PRIOR_ROWS."""
_LARGEST_LOG_TEMPERATURE = 3.0  # T from 1/20 to 20: beyond it nothing changes but the rounding


class Scaling(NamedTuple):
    """`biases` sum to 0."""

    temperature: float
    biases: Floats


def scale(probabilities: Floats, scaling: Scaling) -> Floats:
    """softmax(log p / T + b) of each row."""
    scores = np.log(np.maximum(probabilities, EPSILON)) / scaling.temperature + scaling.biases
    weights = np.exp(scores - scores.max(1, keepdims=True))
    scaled: Floats = weights / weights.sum(1, keepdims=True)
    return scaled


def fit_scaling(probabilities: Floats, labels: Ints) -> Scaling:
    """The scaling that minimises the negative log likelihood (Guo et al. 2017, section 4) with a normal prior, so that
    few rows give nearly the identity. Deterministic."""
    from scipy.optimize import minimize

    rows, classes = probabilities.shape
    logs = np.log(np.maximum(probabilities, EPSILON))
    truth = np.eye(classes)[labels]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        cooled = logs / np.exp(parameters[0])
        scores = cooled + parameters[1:]
        peak = scores.max(1, keepdims=True)
        weights = np.exp(scores - peak)
        totals = weights.sum(1, keepdims=True)
        nll = float((np.log(totals) + peak - (scores * truth).sum(1, keepdims=True)).sum())
        slope = weights / totals - truth
        gradient = np.concatenate([[-(slope * cooled).sum()], slope.sum(0)])
        penalty = PRIOR_ROWS / 2 * float(parameters @ parameters)
        return (nll + penalty) / rows, (gradient + PRIOR_ROWS * parameters) / rows

    limit = _LARGEST_LOG_TEMPERATURE
    found = minimize(
        loss,
        np.zeros(1 + classes),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-limit, limit)] + [(None, None)] * classes,
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    biases = found.x[1:] - found.x[1:].mean()  # a common shift changes no probability
    return Scaling(float(np.exp(found.x[0])), biases)


def out_of_fold(probabilities: Floats, labels: Ints, days: Ints) -> Floats:
    """Each row scaled by a fit on the other folds: folds are stretches of whole days, since the events of one day share
    their market. Needs rows of at least two days."""
    scaled = np.empty_like(probabilities)
    for fold_days in fold_stretches(days):
        held_out = np.isin(days, fold_days)
        scaling = fit_scaling(probabilities[~held_out], labels[~held_out])
        scaled[held_out] = scale(probabilities[held_out], scaling)
    return scaled


def fold_stretches(days: Ints) -> list[Ints]:
    """The days in order of time, cut into at most `FOLDS` stretches of about as many days each."""
    distinct = np.unique(days)
    return np.array_split(distinct, min(FOLDS, len(distinct)))

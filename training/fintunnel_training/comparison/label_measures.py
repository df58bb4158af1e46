"""The measures of one field that a system's predictions allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fintunnel_training.comparison.baselines import FIELDS, Prediction
from fintunnel_training.comparison.result import FieldName, MeasureName
from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.bootstrap import Statistic
from fintunnel_training.evaluation.label_statistics import (
    binary_auc,
    brier,
    calibration_error,
    mean_auc,
    of_pairs,
    pair_counts,
)
from fintunnel_training.evaluation.measures import accuracy, macro_f1, matthews, recalls

__all__ = ["label_statistics", "rows_of"]

_NEED_CLASSES: tuple[MeasureName, ...] = ("macro_f1", "mcc", "auc")


def label_statistics(
    field: FieldName, truth: Ints, prediction: Prediction, blocks: Ints
) -> dict[MeasureName, Callable[[], Statistic]]:
    """What makes each of them; NaN where only one class is there. AUC: of impact, "high" against the rest; of
    direction, the mean of each class against the rest."""
    counts = pair_counts(truth, prediction.guesses, blocks)
    scores, probabilities = prediction.scores, prediction.probabilities
    present = [number for number in range(len(FIELDS[field])) if (truth == number).any()]
    makers: dict[MeasureName, Callable[[], Statistic]] = {
        "macro_f1": lambda: of_pairs(counts, macro_f1),
        "mcc": lambda: of_pairs(counts, matthews),
        "accuracy": lambda: of_pairs(counts, accuracy),
    }
    for number in present:
        makers[f"recall_{FIELDS[field][number]}"] = _recall(counts, number)  # type: ignore[index]
    if scores is not None and field == "impact":
        makers["auc"] = lambda: binary_auc(truth == scores.shape[1] - 1, scores[:, -1], blocks)
    elif scores is not None:
        makers["auc"] = lambda: mean_auc([truth == n for n in present], [scores[:, n] for n in present], blocks)
    if probabilities is not None:
        makers["brier"] = lambda: brier(truth, probabilities, blocks)
        makers["ece"] = lambda: calibration_error(truth, probabilities, blocks)
    if len(present) < 2:
        makers |= {name: lambda: _without_meaning(blocks) for name in _NEED_CLASSES if name in makers}
    return makers


def rows_of(prediction: Prediction, rows: Sequence[int]) -> Prediction:
    """The predictions of some of its rows."""

    def take(array: Floats | None) -> Floats | None:
        return None if array is None else array[list(rows)]

    return Prediction(prediction.guesses[list(rows)], take(prediction.probabilities), take(prediction.scores))


def _recall(counts: Floats, number: int) -> Callable[[], Statistic]:
    return lambda: of_pairs(counts, lambda sums: recalls(sums)[..., number])


def _without_meaning(blocks: Ints) -> Statistic:
    return Statistic(np.zeros((int(blocks.max()) + 1, 1)), lambda sums: np.full(sums.shape[:-1], np.nan))

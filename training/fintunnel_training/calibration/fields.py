"""Fits and judges every field under one condition, from the rows and what the model answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS, NewsAnalysis

from fintunnel_training.calibration.calibration_file import CLASSES, FieldFit, FieldName
from fintunnel_training.calibration.scaling import Scaling, fit_scaling, out_of_fold
from fintunnel_training.calibration.validation_rows import ValidationRow
from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.reliability import measure

__all__ = ["Judged", "fit_field", "fit_fields"]


@dataclass(frozen=True)
class Judged:
    """A fit, and what such a fit does to rows of days that it was not made from.

    `raw`, `after`: probabilities, shape (rows, classes); `labels`: class numbers, shape (rows,).
    """

    fit: FieldFit
    raw: Floats
    after: Floats
    labels: Ints


def fit_fields(
    rows: Sequence[ValidationRow], answers: Sequence[NewsAnalysis], *, with_context: bool
) -> dict[FieldName, Judged]:
    """Impact and direction, and the signals where there is context; `answers` in the order of `rows`."""
    fields: list[FieldName] = ["impact", "direction", *(SIGNALS if with_context else ())]
    days = np.array([row.beijing_day for row in rows])
    return {
        field: fit_field(
            np.array([_probabilities(answer, field) for answer in answers]),
            np.array([CLASSES[field].index(_label(row, field)) for row in rows]),
            days,
            CLASSES[field],
        )
        for field in fields
    }


def fit_field(raw: Floats, labels: Ints, days: Ints, classes: Sequence[str]) -> Judged:
    """Fit on all rows. Where the log likelihood does not improve on days that were left out, the identity.

    Args:
        raw: probabilities, shape (rows, classes).
        labels: class numbers, shape (rows,).
        days: numbers of the rows' days, of which there are at least two.
    """
    after = out_of_fold(raw, labels, days)
    before, judged = measure(raw, labels), measure(after, labels)
    scaling = fit_scaling(raw, labels)
    if judged.nll >= before.nll:
        after, judged, scaling = raw, before, Scaling(1.0, np.zeros(len(classes)))
    fit = FieldFit(
        temperature=scaling.temperature,
        biases=dict(zip(classes, scaling.biases.tolist(), strict=True)),
        rows=len(labels),
        nll_before=round(before.nll, 6),
        nll_after=round(judged.nll, 6),
        brier_before=round(before.brier, 6),
        brier_after=round(judged.brier, 6),
        ece_before=round(before.ece, 6),
        ece_after=round(judged.ece, 6),
    )
    return Judged(fit, raw, after, labels)


def _probabilities(answer: NewsAnalysis, field: FieldName) -> list[float]:
    """In the order of `CLASSES`; the answer has been checked to hold them."""
    if field == "impact":
        return [(answer.impact_probs or {})[label] for label in IMPACTS]
    if field == "direction":
        return [(answer.direction_probs or {})[label] for label in DIRECTIONS]
    true = (answer.signal_probs or {})[field]
    return [true, 1 - true]


def _label(row: ValidationRow, field: FieldName) -> str:
    if field == "impact":
        return row.impact
    if field == "direction":
        return row.direction
    return "true" if getattr(row.signals, field) else "false"

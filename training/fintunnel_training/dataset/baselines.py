"""What a model has to beat: majority class, character TF-IDF + LinearSVC, logistic regression on the market before.

Trained on all training events and judged on the test events, in their natural class mix. Intervals are 95 %
percentile intervals of a bootstrap that draws whole days (Beijing time), since events of one day share their market.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fintunnel.wire import DIRECTIONS, IMPACTS, Edges
from numpy.typing import NDArray

from fintunnel_training.dataset.labels import LabelledEvent, direction_label, impact_label
from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.baseline_models import market_regression, text_classifier
from fintunnel_training.evaluation.bootstrap import RESAMPLES, Resampling, Statistic, block_numbers
from fintunnel_training.evaluation.features import Known, TextFeatures, market_features
from fintunnel_training.evaluation.label_statistics import binary_auc, of_pairs, pair_counts
from fintunnel_training.evaluation.measures import macro_f1

__all__ = ["measure_baselines"]

_MIN_EVENTS = 30  # fewer than this, on either side, say nothing
_BEIJING_MIN = 8 * 60  # ahead of UTC


def measure_baselines(parts: dict[str, list[LabelledEvent]], edges: Edges, seed: int = 0) -> dict[str, Any] | None:
    """Figures of each baseline on the test events: {task: {baseline: {measure, value, interval}}}; None where there
    are too few events to judge."""
    train, test = parts["train"], parts["test"]
    if min(len(train), len(test)) < _MIN_EVENTS:
        return None
    days = block_numbers(np.array([(item.event.minute + _BEIJING_MIN) // (24 * 60) for item in test]))
    resampling = Resampling(int(days.max()) + 1, RESAMPLES, (seed,))
    impacts = [[IMPACTS.index(impact_label(item.reaction, edges)) for item in part] for part in (train, test)]
    directions = [[DIRECTIONS.index(direction_label(item.reaction, edges)) for item in part] for part in (train, test)]
    result: dict[str, Any] = {"test_events": len(test), "test_days": int(days.max()) + 1, "resamples": RESAMPLES}
    texts = TextFeatures([item.event.text for item in train])
    test_texts = texts.of([item.event.text for item in test])
    for task, (trained, truth) in {"direction": directions, "impact": impacts}.items():
        known, answers = np.array(trained), np.array(truth)
        majority = np.full(len(answers), np.bincount(known).argmax())
        guesses = {"majority": majority}
        if len(set(trained)) > 1:
            guesses["tfidf_linear_svc"] = text_classifier(seed).fit(texts.training, known).predict(test_texts)
        result[task] = {name: _f1_figure(answers, guess, days, resampling) for name, guess in guesses.items()}
    high = IMPACTS.index("high")
    known, answers = np.array(impacts[0]) == high, np.array(impacts[1]) == high
    if 0 < known.sum() < len(known) and 0 < answers.sum() < len(answers):
        scores = market_regression().fit(_market(train), known).predict_proba(_market(test))[:, 1]
        result["impact"]["logistic_regression_high"] = _auc_figure(answers, scores, days, resampling)
    return result


def _f1_figure(truth: Ints, guess: Ints, days: Ints, resampling: Resampling) -> dict[str, Any]:
    classes = len(IMPACTS)
    return _figure("macro_f1", of_pairs(pair_counts(truth, np.eye(classes)[guess], days), macro_f1), resampling)


def _auc_figure(truth: NDArray[np.bool_], scores: Floats, days: Ints, resampling: Resampling) -> dict[str, Any]:
    return _figure("roc_auc", binary_auc(truth, scores, days), resampling)


def _figure(name: str, statistic: Statistic, resampling: Resampling) -> dict[str, Any]:
    interval = resampling.interval(statistic)
    ends = (np.nan, np.nan) if interval is None else (interval.low, interval.high)
    return {"measure": name, "value": round(statistic.value, 4), "interval": [round(end, 4) for end in ends]}


def _market(events: Sequence[LabelledEvent]) -> Floats:
    return market_features(
        [
            Known(
                item.event.text,
                (item.event.minute + _BEIJING_MIN) // 60 % 24,
                item.event.importance,
                item.event.kind == "calendar" or item.event.figures is not None,
                item.context,
            )
            for item in events
        ]
    )

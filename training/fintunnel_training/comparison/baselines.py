"""The simple models beside every comparison, trained on the training split alone: majority, a draw by frequency,
character TF-IDF + LinearSVC, logistic regression on the market before.

Their probabilities are corrected on the validation split exactly as an adapter's are (`calibration.scaling`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fintunnel.wire import DIRECTIONS, IMPACTS, NewsRequest, ReportRequest
from pydantic import BaseModel, ValidationError

from fintunnel_training.calibration.scaling import fit_scaling, scale
from fintunnel_training.comparison.result import FieldName
from fintunnel_training.dataset.sources.records import BEIJING
from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.baseline_models import market_regression, text_classifier
from fintunnel_training.evaluation.features import Known, TextFeatures, market_features
from fintunnel_training.instructions import InstructionRow, parse_object, parse_row, read_objects, split_paths

__all__ = ["BASELINES", "FIELDS", "LabelledNews", "Prediction", "predict", "read_labelled", "usual_citations"]

BASELINES = ("majority", "prior", "tfidf_svc", "context_regression")
FIELDS: dict[FieldName, tuple[str, ...]] = {"impact": IMPACTS, "direction": DIRECTIONS}
_LEAST = 20  # training rows, of at least two classes


@dataclass(frozen=True)
class LabelledNews:
    """News that a baseline is fitted on, with class numbers by field."""

    request: NewsRequest
    labels: dict[FieldName, int]


@dataclass(frozen=True)
class Prediction:
    """Of one field, a row each: `guesses` (rows, classes), one-hot but for a guess that is drawn; `probabilities`
    (rows, classes) or None; `scores` (rows, classes), which rank."""

    guesses: Floats
    probabilities: Floats | None
    scores: Floats | None


class _Labels(BaseModel):
    impact: Literal["low", "medium", "high"]
    direction: Literal["bearish", "neutral", "bullish"]


def read_labelled(training: Path) -> tuple[list[LabelledNews], list[LabelledNews]]:
    """The news of the training split and of the validation split beside it, each event once with its context and
    once without, as its rows have it.

    Raises:
        DataError: a file cannot be read.
    """
    paths = split_paths(training)
    return _read(paths["train"]), _read(paths["val"]) if paths["val"].is_file() else []


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], InstructionRow]]:
    """Each row as it stands, and parsed."""
    for where, row in read_objects(path)[1]:
        yield row, parse_row(row, where)


def _read(path: Path) -> list[LabelledNews]:
    found: dict[tuple[str, bool], LabelledNews] = {}
    for row, instruction in _rows(path):
        request = instruction.request
        if not isinstance(request, NewsRequest):
            continue
        try:
            labels = _Labels.model_validate(row["meta"].get("labels"))
        except ValidationError:
            continue
        key = (str(row["meta"].get("event_id") or request.text), request.context is None)
        if key not in found:
            classes: dict[FieldName, int] = {
                "impact": IMPACTS.index(labels.impact),
                "direction": DIRECTIONS.index(labels.direction),
            }
            found[key] = LabelledNews(request, classes)
    return list(found.values())


def usual_citations(training: Path) -> tuple[int, ...] | None:
    """What the training split's report questions cite most often; None where it has none."""
    cited: Counter[tuple[int, ...]] = Counter()
    for row, instruction in _rows(split_paths(training)["train"]):
        if isinstance(instruction.request, ReportRequest):
            answer = parse_object(instruction.output, str(row["instruction"])[:20])
            cited[tuple(answer.get("citations") or ())] += 1
    return cited.most_common(1)[0][0] if cited else None


def predict(
    field: FieldName,
    training: Sequence[LabelledNews],
    validation: Sequence[LabelledNews],
    asked: Sequence[NewsRequest],
    seed: int,
) -> dict[str, Prediction]:
    """What each baseline says of `asked`; none where there is too little to learn from. Class frequencies come from
    the validation split where there is one, since a training file may be balanced."""
    known = np.array([news.labels[field] for news in training], dtype=np.int64)
    if len(known) < _LEAST or len(set(known.tolist())) < 2:
        return {}
    later = np.array([news.labels[field] for news in validation], dtype=np.int64)
    classes = len(FIELDS[field])
    frequencies = np.bincount(later if len(later) >= _LEAST else known, minlength=classes).astype(np.float64)
    prior = np.tile(frequencies / frequencies.sum(), (len(asked), 1))
    texts = TextFeatures([news.request.text for news in training])
    classifier = text_classifier(seed).fit(texts.training, known)
    regression = market_regression().fit(_market([news.request for news in training]), known)

    def market(requests: Sequence[NewsRequest]) -> Floats:
        return _spread(regression.predict_proba(_market(requests)), regression.classes_, classes, 0.0)

    likely = _corrected(market, validation, later, asked)
    decided = classifier.decision_function(texts.of([request.text for request in asked]))
    if decided.ndim == 1:  # of two classes
        decided = np.stack([-decided, decided], axis=1)
    ranked = _spread(decided, classifier.classes_, classes, -np.inf)
    return {
        "majority": Prediction(_one_hot(prior), None, None),
        "prior": Prediction(prior, prior, None),
        "tfidf_svc": Prediction(_one_hot(ranked), None, np.where(np.isfinite(ranked), ranked, -1e9)),
        "context_regression": Prediction(_one_hot(likely), likely, likely),
    }


def _corrected(
    market: Callable[[Sequence[NewsRequest]], Floats],
    validation: Sequence[LabelledNews],
    labels: Ints,
    asked: Sequence[NewsRequest],
) -> Floats:
    """The regression's probabilities, scaled as an adapter's are: by one fit for news with context, on the validation
    rows that have it, and one for news without, on all of them with theirs taken away."""
    likely = market(asked)
    known = [news.request for news in validation]
    with_context = np.array([request.context is not None for request in known], dtype=bool)
    bare = [request.model_copy(update={"context": None}) for request in known]
    fits = {
        True: ([request for request in known if request.context is not None], labels[with_context]),
        False: (bare, labels),
    }
    for has_context, (requests, truth) in fits.items():
        rows = np.array([(request.context is not None) == has_context for request in asked], dtype=bool)
        if len(truth) >= _LEAST and rows.any():
            likely[rows] = scale(likely[rows], fit_scaling(market(requests), truth))
    return likely


def _one_hot(scores: Floats) -> Floats:
    guesses: Floats = np.eye(scores.shape[1])[scores.argmax(1)]
    return guesses


def _spread(columns: Floats, present: Ints, classes: int, otherwise: float) -> Floats:
    """Columns of the classes that were there in training, at the places of all classes."""
    spread = np.full((len(columns), classes), otherwise)
    spread[:, present] = columns
    return spread


def _market(requests: Sequence[NewsRequest]) -> Floats:
    return market_features([_known(request) for request in requests])


def _known(request: NewsRequest) -> Known:
    at = request.published_at
    hour = -1 if at is None else (at.astimezone(BEIJING) if at.tzinfo is not None else at).hour
    return Known(request.text, hour, request.importance, request.figures is not None, request.context)

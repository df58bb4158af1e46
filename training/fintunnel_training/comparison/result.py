"""What a comparison found: `report.json`, and all that the pages, pictures and tables are drawn from.

Shares, probabilities and rates are between 0 and 1; times in milliseconds unless a name says otherwise.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fintunnel.rating import Scale
from fintunnel.wire import NewsRequest, ReportRequest
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "MEASURES",
    "Answer",
    "ComparisonResult",
    "Confusion",
    "Data",
    "Difference",
    "Estimate",
    "Example",
    "FieldName",
    "RaterCounts",
    "Measure",
    "MeasureName",
    "People",
    "Reliability",
    "Said",
    "System",
    "SystemKind",
    "Training",
]

SystemKind = Literal["base", "tuned", "hosted", "baseline"]
FieldName = Literal["impact", "direction"]
Group = Literal["impact", "direction", "reports", "form", "speed"]
MeasureName = Literal[
    # impact and direction
    "macro_f1", "mcc", "accuracy", "recall_low", "recall_medium", "recall_high", "recall_bearish", "recall_neutral",
    "recall_bullish", "auc", "brier", "ece",
    # report questions
    "figures_right", "citations_right", "not_stated_right",
    # form of what was written
    "valid", "valid_free", "characters", "repetition", "foreign_characters",
    # speed
    "milliseconds", "prompt_tokens", "completion_tokens", "requests_per_second",
]  # fmt: skip
MEASURES: dict[MeasureName, Literal["higher", "lower", "neither"]] = {
    "macro_f1": "higher",
    "mcc": "higher",
    "accuracy": "higher",
    "recall_low": "higher",
    "recall_medium": "higher",
    "recall_high": "higher",
    "recall_bearish": "higher",
    "recall_neutral": "higher",
    "recall_bullish": "higher",
    "auc": "higher",
    "brier": "lower",
    "ece": "lower",
    "figures_right": "higher",
    "citations_right": "higher",
    "not_stated_right": "higher",
    "valid": "higher",
    "valid_free": "higher",
    "characters": "neither",
    "repetition": "lower",
    "foreign_characters": "lower",
    "milliseconds": "lower",
    "prompt_tokens": "neither",
    "completion_tokens": "neither",
    "requests_per_second": "higher",
}
"""Every measure, in the order of tables, and which way is better."""


Said = tuple[str, str]
"""A sentence in Chinese and in English."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class System(_Record):
    """One that was asked. `name`: unique, as shown; `model`: the base or hosted model; `adapter`: its name on the
    server; `answered`, `failed`: of the questions put to it; `failure`: why it stopped or what failed first, in
    Chinese."""

    name: str
    kind: SystemKind
    model: str = ""
    adapter: str | None = None
    calibrated: bool = False
    asked: int = 0
    answered: int = 0
    failed: int = 0
    failure: str | None = None


class Data(_Record):
    """What was asked. `days`: distinct days in Beijing; `first`, `last`: of publication, None without times.
    `classes`: how often each class is true, by field. `horizon_min`: minutes that the labels speak of."""

    source: str
    sha256: str | None
    news: int
    labelled: int
    with_context: int
    explained: int
    reports: int
    days: int
    first: datetime | None
    last: datetime | None
    horizon_min: int
    classes: dict[FieldName, dict[str, int]]
    training_rows: int = Field(0, description="that the baselines were fitted on")


class Estimate(_Record):
    """A value with its 95 % interval; None where there is none, and `why_not` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    why_not: Said | None = None


class Measure(_Record):
    """One row of the table: a measure of every system that has it, by the system's name."""

    group: Group
    name: MeasureName
    systems: dict[str, Estimate]


class Difference(_Record):
    """`first` minus `second`, over the rows that both answered, from paired resamples of whole days.

    `low`, `high`: None where no interval can be given, `why_not` says why; `lows`, `highs`: of each seed.
    `verdict`: "better" or "worse" where every seed's interval leaves zero on one side (which way is better is
    `MEASURES`' to say), else "none"; "unknown" without an interval.
    `against`: what `second` is to `first`: the base that it was tuned from, or the best of the baselines.
    """

    group: Group
    name: MeasureName
    first: str
    second: str
    against: Literal["base", "best_baseline"]
    value: float | None
    low: float | None = None
    high: float | None = None
    lows: list[float] = []
    highs: list[float] = []
    rows: int = 0
    verdict: Literal["better", "worse", "none", "unknown"]
    why_not: Said | None = None


class Reliability(_Record):
    """Bins of equal numbers of rows, from unsure to sure: mean confidence in the likeliest class, how often it was
    right, and the bin's share of the rows. `chance`: the ECE that perfect probabilities would show with so many rows,
    on average and at most in 19 of 20 cases."""

    field: FieldName
    system: str
    confidence: list[float]
    accuracy: list[float]
    share: list[float]
    ece: float
    chance: tuple[float, float] | None = None


class Confusion(_Record):
    """`counts[truth][guess]`, in the order of `classes`."""

    field: FieldName
    system: str
    classes: list[str]
    counts: list[list[int]]


class Answer(_Record):
    """One system's answer as it is shown. `text`: rationale or answer. `failure`: there is none, and why."""

    system: str
    impact: str | None = None
    impact_probs: dict[str, float] | None = None
    direction: str | None = None
    direction_probs: dict[str, float] | None = None
    signals: list[str] | None = None
    citations: list[int] | None = None
    text: str | None = None
    failure: str | None = None


class Example(_Record):
    """A question with everybody's answers. `chosen`: "drawn" by the seed, or among the "worst" of the tuned model.
    `impact`, `direction`: what followed; `reference`: a report question's answer; None where it is not known."""

    chosen: Literal["drawn", "worst", "asked"]
    request: NewsRequest | ReportRequest = Field(discriminator="task")
    impact: str | None = None
    direction: str | None = None
    reference: str | None = None
    reference_citations: list[int] | None = None
    answers: list[Answer]


class Training(_Record):
    """An adapter's evidence: `info` is its training_info.json, `calibration` its calibration.json, `loss_curve` the
    PNG's name beside the report. `adapter_bytes`: the size of its weights."""

    system: str
    folder: str
    info: dict[str, Any] | None
    calibration: dict[str, Any] | None
    loss_curve: str | None
    adapter_bytes: int
    edges: dict[str, Any] | None
    splits: dict[str, str]


class RaterCounts(_Record):
    """One rater: how many pairs, and how often each verdict, seen from `People.first`."""

    name: str
    pairs: int
    better: int
    equal: int
    worse: int


class People(_Record):
    """What people said of blind pairs: `first` (the tuned model) against `second`.

    `win_rate`: (better + half of equal) / ratings, with an interval from resamples of whole pairs. `kappa`: Cohen's,
    the mean over pairs of raters who share at least two rated pairs, None where there are none. `scales`: the mean of
    each scale (1 to 5), by scale and system. `kappa_scales`: linearly weighted, by scale.
    """

    first: str
    second: str
    pairs: int
    ratings: int
    raters: list[RaterCounts]
    win_rate: Estimate
    kappa: Estimate
    scales: dict[Scale, dict[str, Estimate]]
    kappa_scales: dict[Scale, float | None]


class ComparisonResult(_Record):
    """Everything. `pictures`: PNG files beside the report, by what they show. `notes`: what a reader must know
    (rows left out, systems that failed, why intervals are missing). `reproduce`: the commands. `card`: the
    dataset's card, where there is one."""

    format_version: Literal[1] = 1
    fintunnel_version: str
    created_at: datetime
    seed: int
    resamples: int
    seeds: int
    took_seconds: float
    data: Data
    systems: list[System]
    measures: list[Measure]
    differences: list[Difference]
    reliability: list[Reliability]
    confusion: list[Confusion]
    examples: list[Example]
    training: list[Training]
    people: People | None
    card: dict[str, Any] | None
    pictures: dict[str, str]
    notes: list[Said]
    reproduce: list[str]
    versions: dict[str, str]

"""Outcomes become measures, intervals and differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fintunnel_training.comparison.baselines import FIELDS
from fintunnel_training.comparison.cases import Case
from fintunnel_training.comparison.label_measures import label_statistics, rows_of
from fintunnel_training.comparison.outcomes import Outcome
from fintunnel_training.comparison.result import (
    MEASURES,
    Confusion,
    Difference,
    Estimate,
    FieldName,
    Group,
    Measure,
    MeasureName,
    Reliability,
    Said,
)
from fintunnel_training.evaluation.arrays import Floats, Ints
from fintunnel_training.evaluation.bootstrap import Resampling, Statistic, block_numbers
from fintunnel_training.evaluation.label_statistics import calibration_error_by_chance, mean_of, pair_counts
from fintunnel_training.evaluation.reliability import reliability

__all__ = ["MIN_DAYS", "MIN_ROWS", "Judge"]

MIN_ROWS = 30  # fewer give no interval
MIN_DAYS = 5  # whole days are resampled, and of fewer than this there is little to draw
_MOST_BLOCKS = 1000  # of rows without a time; more would take gigabytes and tell nothing new
_ONE_CLASS: Said = ("只出现了一个类别，这项没有意义", "only one class is there: it has no meaning")
_MOSTLY_ONE_CLASS: Said = ("多数重抽样里只有一个类别，不给区间", "most resamples hold one class only: no interval")
_GROUPS: dict[Group, tuple[MeasureName, ...]] = {
    "reports": ("figures_right", "citations_right", "not_stated_right"),
    "form": ("valid", "valid_free", "characters", "repetition", "foreign_characters"),
    "speed": ("milliseconds", "prompt_tokens", "completion_tokens", "requests_per_second"),
}
_COMPARED: tuple[MeasureName, ...] = ("macro_f1", "mcc", "accuracy", "auc", "brier", "ece")
_COMPARED_TEXTS: tuple[MeasureName, ...] = (
    *_GROUPS["reports"], "valid", "valid_free", "repetition", "foreign_characters",
)  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """Judges outcomes over `cases`; every interval of one judge comes from the same draws.

    `seeds` times `resamples` of whole days; rows without a time are drawn one by one.
    """

    cases: Sequence[Case]
    resamples: int
    seeds: tuple[int, ...]

    def measures(self, outcomes: Sequence[Outcome]) -> list[Measure]:
        """One for each measure that somebody has, in the order of tables."""
        found: list[Measure] = []
        for field in FIELDS:
            estimates = {outcome.name: self._of_labels(outcome, field) for outcome in outcomes if field in outcome.rows}
            found += _measures(field, estimates)
        for group in _GROUPS:
            found += _measures(group, {outcome.name: self._of_values(outcome, group) for outcome in outcomes})
        return found

    def differences(self, tuned: Outcome, base: Outcome | None, baselines: Sequence[Outcome]) -> list[Difference]:
        """The tuned model minus its base, and minus the best of the baselines at each measure."""
        found = []
        for field in FIELDS:
            if base is not None:
                found += [self._labels_apart(tuned, base, field, name, "base") for name in _COMPARED]
            for name in _COMPARED:
                best = self._best(baselines, field, name)
                if best is not None:
                    found.append(self._labels_apart(tuned, best, field, name, "best_baseline"))
        groups: tuple[Group, ...] = ("reports", "form")
        for group in groups:
            for name in [name for name in _GROUPS[group] if name in _COMPARED_TEXTS]:
                if base is not None:
                    found.append(self._values_apart(tuned, base, group, name, "base"))
                found += [
                    self._values_apart(tuned, baseline, group, name, "best_baseline")
                    for baseline in baselines
                    if baseline.values.get(name)  # there is one at most
                ]
        return [difference for difference in found if difference is not None]

    def reliability(self, outcome: Outcome, field: FieldName) -> Reliability | None:
        prediction = outcome.predictions.get(field)
        if prediction is None or prediction.probabilities is None:
            return None
        rows = outcome.rows[field]
        truth, _, _ = self._truth(field, rows)
        confidence, right, share = reliability(prediction.probabilities, truth)
        return Reliability(
            field=field,
            system=outcome.name,
            confidence=confidence.tolist(),
            accuracy=right.tolist(),
            share=share.tolist(),
            ece=float((share * np.abs(confidence - right)).sum()),
            chance=calibration_error_by_chance(truth, prediction.probabilities, self.seeds[0]),
        )

    def confusion(self, outcome: Outcome, field: FieldName) -> Confusion | None:
        """None for guesses that are drawn: they are no counts."""
        if field not in outcome.rows or not (outcome.predictions[field].guesses % 1 == 0).all():
            return None
        truth, _, _ = self._truth(field, outcome.rows[field])
        guesses = outcome.predictions[field].guesses
        counts = pair_counts(truth, guesses, np.zeros(len(truth), dtype=np.int64))[0]
        return Confusion(
            field=field, system=outcome.name, classes=list(FIELDS[field]), counts=counts.astype(int).tolist()
        )

    def _truth(self, field: FieldName, rows: Sequence[int]) -> tuple[Ints, Ints, Said | None]:
        """Class numbers and blocks of these rows, and why no interval can be given."""
        truth = np.array([FIELDS[field].index(getattr(self.cases[row], field)) for row in rows], dtype=np.int64)
        blocks, why_not = self._blocks([self.cases[row] for row in rows])
        return truth, blocks, why_not

    def _blocks(self, cases: Sequence[Case]) -> tuple[Ints, Said | None]:
        days = np.array(
            [-1 - n % _MOST_BLOCKS if (day := case.beijing_day) is None else day for n, case in enumerate(cases)]
        )
        why_not: Said | None = None
        if len(cases) < MIN_ROWS:
            why_not = (
                f"只有 {len(cases)} 条，少于 {MIN_ROWS} 条，不给区间",
                f"only {len(cases)} rows, fewer than {MIN_ROWS}: no interval",
            )
        elif len(set(days.tolist())) < MIN_DAYS:
            count = len(set(days.tolist()))
            why_not = (
                f"只有 {count} 天，少于 {MIN_DAYS} 天，不给区间",
                f"only {count} days, fewer than {MIN_DAYS}: no interval",
            )
        return block_numbers(days), why_not

    def _of_labels(self, outcome: Outcome, field: FieldName) -> dict[MeasureName, Estimate]:
        rows = outcome.rows[field]
        truth, blocks, why_not = self._truth(field, rows)
        makers = label_statistics(field, truth, outcome.predictions[field], blocks)
        return {name: self._estimate(make(), blocks, why_not) for name, make in makers.items()}

    def _of_values(self, outcome: Outcome, group: Group) -> dict[MeasureName, Estimate]:
        found = {}
        for name in _GROUPS[group]:
            if name in outcome.single:
                found[name] = Estimate(value=outcome.single[name])
            elif outcome.values.get(name):
                values, blocks, why_not = self._values(outcome, name, list(outcome.values[name]))
                found[name] = self._estimate(mean_of(values, blocks), blocks, why_not)
        return found

    def _values(self, outcome: Outcome, name: MeasureName, keys: Sequence[str]) -> tuple[Floats, Ints, Said | None]:
        by_key = {case.key: case for case in self.cases}
        blocks, why_not = self._blocks([by_key[key] for key in keys])
        return np.array([outcome.values[name][key] for key in keys]), blocks, why_not

    def _estimate(self, statistic: Statistic, blocks: Ints, why_not: Said | None) -> Estimate:
        value = statistic.value
        if not math.isfinite(value):
            return Estimate(value=None, rows=len(blocks), why_not=_ONE_CLASS)
        interval = None if why_not is not None else self._resampling(blocks).interval(statistic)
        if interval is None:
            return Estimate(value=value, rows=len(blocks), why_not=why_not or _MOSTLY_ONE_CLASS)
        return Estimate(value=value, low=interval.low, high=interval.high, rows=len(blocks))

    def _resampling(self, blocks: Ints) -> Resampling:
        return Resampling(int(blocks.max()) + 1, self.resamples, self.seeds)

    def _best(self, baselines: Sequence[Outcome], field: FieldName, name: MeasureName) -> Outcome | None:
        """The baseline that is hardest to beat at this measure on these very rows."""
        values = {}
        for number, outcome in enumerate(baselines):
            if field in outcome.rows:
                truth, blocks, _ = self._truth(field, outcome.rows[field])
                make = label_statistics(field, truth, outcome.predictions[field], blocks).get(name)
                if make is not None and math.isfinite(value := make().value):
                    values[number] = value if MEASURES[name] == "higher" else -value
        return baselines[max(values, key=values.__getitem__)] if values else None

    def _labels_apart(
        self, first: Outcome, second: Outcome, field: FieldName, name: MeasureName, against: str
    ) -> Difference | None:
        if field not in first.rows or field not in second.rows:
            return None
        both = sorted(set(first.rows[field]) & set(second.rows[field]))
        if not both:
            return None
        truth, blocks, why_not = self._truth(field, both)
        statistics = []
        for outcome in (first, second):
            places = {row: place for place, row in enumerate(outcome.rows[field])}
            part = rows_of(outcome.predictions[field], [places[row] for row in both])
            make = label_statistics(field, truth, part, blocks).get(name)
            if make is None:
                return None
            statistics.append(make())
        return self._difference(field, name, (first, second), against, (statistics[0], statistics[1]), blocks, why_not)

    def _values_apart(
        self, first: Outcome, second: Outcome, group: Group, name: MeasureName, against: str
    ) -> Difference | None:
        both = [key for key in first.values.get(name, {}) if key in second.values.get(name, {})]
        if not both:
            return None
        values, blocks, why_not = self._values(first, name, both)
        others, _, _ = self._values(second, name, both)
        pair = (mean_of(values, blocks), mean_of(others, blocks))
        return self._difference(group, name, (first, second), against, pair, blocks, why_not)

    def _difference(
        self,
        group: Group,
        name: MeasureName,
        outcomes: tuple[Outcome, Outcome],
        against: str,
        statistics: tuple[Statistic, Statistic],
        blocks: Ints,
        why_not: Said | None,
    ) -> Difference:
        first, second = statistics
        value = first.value - second.value
        common = {
            "group": group,
            "name": name,
            "first": outcomes[0].name,
            "second": outcomes[1].name,
            "against": against,
            "rows": len(blocks),
        }
        if not math.isfinite(value):
            return Difference.model_validate(common | {"value": None, "verdict": "unknown", "why_not": _ONE_CLASS})
        interval = None if why_not is not None else self._resampling(blocks).interval(first, second)
        if interval is None:
            reason = why_not or _MOSTLY_ONE_CLASS
            return Difference.model_validate(common | {"value": value, "verdict": "unknown", "why_not": reason})
        side = interval.side() if MEASURES[name] == "higher" else -interval.side()
        return Difference.model_validate(
            common
            | {
                "value": value,
                "low": interval.low,
                "high": interval.high,
                "lows": list(interval.lows),
                "highs": list(interval.highs),
                "verdict": {1: "better", -1: "worse", 0: "none"}[side],
            }
        )


def _measures(group: Group, estimates: dict[str, dict[MeasureName, Estimate]]) -> list[Measure]:
    return [
        Measure(group=group, name=name, systems=systems)
        for name in MEASURES
        if (systems := {system: found[name] for system, found in estimates.items() if name in found})
    ]

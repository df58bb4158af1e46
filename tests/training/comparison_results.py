"""The result of a comparison as it may come out, whole. Its figures are made up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from fintunnel.wire import DIRECTIONS, IMPACTS
from fintunnel_training.comparison.result import (
    MEASURES,
    ComparisonResult,
    Confusion,
    Data,
    Difference,
    Estimate,
    FieldName,
    Group,
    Measure,
    MeasureName,
    Reliability,
    System,
)

from tests.training.comparison_parts import AT, BASE, HOSTED, TUNED, card, examples, people, training

BASELINES = ("全猜多数类", "字符 TF-IDF + LinearSVC", "逻辑回归（此前行情、时刻）")

_VALUES: dict[tuple[Group, MeasureName], tuple[float | None, ...]] = {
    # base, tuned, hosted, then the baselines
    ("impact", "macro_f1"): (0.2412, 0.3981, 0.3315, 0.2082, 0.2486, None),
    ("impact", "mcc"): (0.021, 0.142, 0.087, 0.0, 0.031, None),
    ("impact", "accuracy"): (0.312, 0.448, 0.401, 0.454, 0.438, None),
    ("impact", "recall_low"): (0.31, 0.58, 0.49, 1.0, 0.82, None),
    ("impact", "recall_medium"): (0.28, 0.31, 0.33, 0.0, 0.11, None),
    ("impact", "recall_high"): (0.35, 0.38, 0.31, 0.0, 0.06, None),
    ("impact", "auc"): (0.5127, 0.6518, None, None, None, 0.6631),
    ("impact", "brier"): (0.781, 0.622, None, None, None, None),
    ("impact", "ece"): (0.312, 0.043, None, None, None, None),
    ("direction", "macro_f1"): (0.2951, 0.3312, 0.3401, 0.1752, 0.3128, None),
    ("direction", "accuracy"): (0.331, 0.347, 0.351, 0.356, 0.335, None),
    ("direction", "brier"): (0.742, 0.668, None, None, None, None),
    ("direction", "ece"): (0.201, 0.058, None, None, None, None),
    ("reports", "figures_right"): (0.215, 0.886, 0.924, None, None, None),
    ("reports", "citations_right"): (0.101, 0.911, 0.861, None, None, None),
    ("reports", "not_stated_right"): (0.05, 0.8, 0.95, None, None, None),
    ("form", "valid"): (1.0, 1.0, 0.981, None, None, None),
    ("form", "valid_free"): (0.12, 0.97, 0.94, None, None, None),
    ("form", "characters"): (131.4, 78.2, 95.9, None, None, None),
    ("form", "repetition"): (0.182, 0.011, 0.004, None, None, None),
    ("form", "foreign_characters"): (0.094, 0.002, 0.001, None, None, None),
    ("speed", "milliseconds"): (1412.0, 1533.0, 2210.0, None, None, None),
    ("speed", "completion_tokens"): (94.0, 61.0, 70.0, None, None, None),
    ("speed", "requests_per_second"): (0.71, 0.65, 3.2, None, None, None),
}
_WIDTHS = {"characters": 4.0, "milliseconds": 60.0, "completion_tokens": 3.0, "requests_per_second": 0.05}


def full(
    overrides: Mapping[tuple[Group, MeasureName, str], tuple[float, float, float]] = {},  # noqa: B006 - only read
) -> ComparisonResult:
    """Everything there is. `overrides`: (value, low, high) of differences by group, measure and `against`."""
    names = [BASE, TUNED, HOSTED, *BASELINES]
    measures = [
        Measure(
            group=group,
            name=name,
            systems={
                system: _estimate(name, value)
                for system, value in zip(names, values, strict=True)
                if not _absent(value, system)
            },
        )
        for (group, name), values in _VALUES.items()
    ]
    return ComparisonResult(
        fintunnel_version="0.1.0",
        created_at=AT,
        seed=42,
        resamples=1000,
        seeds=3,
        took_seconds=2514.0,
        data=Data(
            source="instructions.test.jsonl",
            sha256="ab" * 32,
            news=317,
            labelled=317,
            with_context=211,
            explained=40,
            reports=79,
            days=13,
            first=AT,
            last=datetime(2025, 10, 31, 14, 20, tzinfo=UTC),
            horizon_min=15,
            classes={
                "impact": {"low": 144, "medium": 107, "high": 66},
                "direction": {"bearish": 113, "neutral": 88, "bullish": 116},
            },
            training_rows=300,
        ),
        systems=[
            System(name=BASE, kind="base", model="deepseek-ai/deepseek-llm-7b-chat", asked=396, answered=396),
            System(
                name=TUNED,
                kind="tuned",
                model="deepseek-ai/deepseek-llm-7b-chat",
                adapter="finance",
                calibrated=True,
                asked=396,
                answered=396,
            ),
            System(name=HOSTED, kind="hosted", model="deepseek-flash", asked=396, answered=396),
            *(System(name=name, kind="baseline", asked=317, answered=317) for name in BASELINES),
        ],
        measures=measures,
        differences=_differences(overrides),
        reliability=[
            Reliability(
                field=field,
                system=system,
                confidence=[0.36 + shift + 0.045 * i for i in range(10)],
                accuracy=[min(0.95, 0.33 + 0.03 * i + 0.06 * (i % 3)) for i in range(10)],
                share=[0.1] * 10,
                ece=ece,
                chance=(0.031, 0.052),
            )
            for field, system, shift, ece in (
                ("impact", BASE, 0.15, 0.312),
                ("impact", TUNED, 0.0, 0.043),
                ("direction", BASE, 0.15, 0.201),
                ("direction", TUNED, 0.0, 0.058),
            )
        ],
        confusion=[
            Confusion(field=field, system=system, classes=list(classes), counts=counts)
            for field, classes in _FIELDS
            for system, counts in (
                (BASE, [[45, 40, 59], [30, 30, 47], [20, 23, 23]]),
                (TUNED, [[84, 40, 20], [48, 33, 26], [19, 22, 25]]),
                (HOSTED, [[70, 50, 24], [43, 35, 29], [22, 24, 20]]),
                (BASELINES[1], [[118, 16, 10], [88, 12, 7], [58, 4, 4]]),
            )
        ],
        examples=examples(),
        training=[training()],
        people=people(),
        card=card(),
        pictures={},
        notes=[("2 行没有发布时间。", "2 rows have no time.")],
        reproduce=["fintunnel compare --data instructions.jsonl --adapter runs/finance --seed 42"],
        versions={"fintunnel": "0.1.0", "python": "3.11.9", "scikit-learn": "1.9.0"},
    )


_FIELDS: tuple[tuple[FieldName, tuple[str, ...]], ...] = (("impact", IMPACTS), ("direction", DIRECTIONS))


def _absent(value: float | None, system: str) -> bool:
    return value is None and system in BASELINES


def _estimate(name: MeasureName, value: float | None) -> Estimate:
    if value is None:
        return Estimate(value=None, why_not=("云端 API 不给概率", "the hosted API gives no probabilities"))
    width = _WIDTHS.get(name, 0.052)
    most = 1.0 if name not in _WIDTHS else value + width
    return Estimate(value=value, low=max(0.0, value - width), high=min(most, value + width), rows=317)


def _differences(overrides: Mapping[tuple[Group, MeasureName, str], tuple[float, float, float]]) -> list[Difference]:
    found = []
    for (group, name), values in _VALUES.items():
        base, tuned = values[0], values[1]
        assert base is not None and tuned is not None
        best = BASELINES[2] if name == "auc" else BASELINES[1]
        other = values[3 + BASELINES.index(best)]
        for against, second, value in (("base", BASE, base), ("best_baseline", best, other)):
            if value is None:
                continue
            delta, width = tuned - value, _WIDTHS.get(name, 0.05) * 1.2
            triple = overrides.get((group, name, against), (delta, delta - width, delta + width))
            found.append(difference(group, name, against, triple, second))
    return found


def difference(
    group: Group,
    name: MeasureName,
    against: str,
    triple: tuple[float, float, float] | None,
    second: str = BASE,
) -> Difference:
    """With the verdict that its interval carries; without one where `triple` is None."""
    side: Literal["base", "best_baseline"] = "base" if against == "base" else "best_baseline"
    if triple is None:
        return Difference(
            group=group,
            name=name,
            first=TUNED,
            second=second,
            against=side,
            value=None,
            rows=12,
            verdict="unknown",
            why_not=("只有 12 行，少于 30 行", "only 12 rows, fewer than 30"),
        )
    value, low, high = triple
    verdict: Literal["better", "worse", "none"] = "none"
    if MEASURES[name] != "neither" and (low > 0 or high < 0):
        verdict = "better" if (low > 0) == (MEASURES[name] != "lower") else "worse"
    return Difference(
        group=group,
        name=name,
        first=TUNED,
        second=second,
        against=side,
        value=value,
        low=low,
        high=high,
        lows=[low] * 3,
        highs=[high] * 3,
        rows=317,
        verdict=verdict,
    )

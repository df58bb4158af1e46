"""Results of comparisons as they may come out: a whole one, and what can be missing from it. Figures are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from fintunnel.wire import DIRECTIONS, IMPACTS, Context, Figures, NewsRequest, Passage, ReportRequest
from fintunnel_training.comparison.result import (
    MEASURES,
    Answer,
    ComparisonResult,
    Confusion,
    Data,
    Difference,
    Estimate,
    Example,
    FieldName,
    Group,
    Judges,
    Measure,
    MeasureName,
    People,
    Reliability,
    System,
    Training,
)

__all__ = ["HOSTILE", "VARIANTS", "difference", "full", "hostile", "variant"]

BASE, TUNED, HOSTED = "deepseek-7b-chat", "finance-lora", "deepseek-flash"
BASELINES = ("全猜多数类", "字符 TF-IDF + LinearSVC", "逻辑回归（此前行情、时刻）")
HOSTILE = "<script>alert(1)</script></style><img src=x onerror=alert(1)>\"'>\u202egnp.exe\x00\x1b[31m|`$x$ https://evil.example/"
AT = datetime(2025, 10, 17, 12, 30, tzinfo=UTC)

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
        best_baseline={"impact": BASELINES[2], "direction": BASELINES[1]},
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
        examples=_examples(),
        training=[training()],
        people=people(),
        card=card(),
        pictures={},
        notes=["2 行因没有发布时间没有参加按天的重抽样。"],
        reproduce=["fintunnel compare --data instructions.jsonl --adapter runs/finance --seed 42"],
        versions={"fintunnel": "0.1.0", "python": "3.11.9", "scikit-learn": "1.9.0"},
    )


_FIELDS: tuple[tuple[FieldName, tuple[str, ...]], ...] = (("impact", IMPACTS), ("direction", DIRECTIONS))


def _absent(value: float | None, system: str) -> bool:
    return value is None and system in BASELINES


def _estimate(name: MeasureName, value: float | None) -> Estimate:
    if value is None:
        return Estimate(value=None, why_not="云端 API 不给概率")
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
            why_not="只有 12 行，少于 30 行",
        )
    value, low, high = triple
    verdict: Literal["better", "worse", "none"] = "none"
    if low > 0 or high < 0:
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


# --- examples, training, people, card ---------------------------------------------------------------------


def _examples() -> list[Example]:
    news = NewsRequest(
        text="美联储宣布加息25个基点，符合市场预期，声明称将视数据决定下一步",
        published_at=AT,
        importance=5,
        figures=Figures(actual=4.5, consensus=4.5, previous=4.25, unit="%", indicator="联邦基金利率"),
        context=Context(pre_return=-0.0031, volatility=0.0062, typical_move=0.00041),
    )
    before = "美联储加息25个基点，这会提高持有黄金的机会成本，通常利空金价。因此黄金必将大跌，投资者应当立即卖出。"
    after = "加息25个基点，与预期的4.5%一致，消息已被计入。加息通常提高持有黄金的机会成本、支撑美元；此前120分钟金价已跌0.31%，属预期兑现。"
    report = ReportRequest(
        question="2024年营业收入是多少？同比增长多少？",
        passages=[
            Passage(text="2024年公司实现营业收入12.6亿元，同比增长8.4%。", source="2024年年度报告", page=12),
            Passage(text="研发费用1.1亿元。", source="2024年年度报告", page=31),
        ],
    )
    shares = {"low": 0.21, "medium": 0.34, "high": 0.45}
    ways = {"bearish": 0.44, "neutral": 0.35, "bullish": 0.21}
    first = [
        Answer(
            system=BASE,
            impact="low",
            impact_probs={"low": 0.7, "medium": 0.2, "high": 0.1},
            direction="bearish",
            direction_probs={"bearish": 0.81, "neutral": 0.12, "bullish": 0.07},
            signals=[],
            text=before,
        ),
        Answer(
            system=TUNED,
            impact="high",
            impact_probs=shares,
            direction="bearish",
            direction_probs=ways,
            signals=["priced_in"],
            text=after,
        ),
        Answer(system=HOSTED, impact="medium", direction="neutral", signals=["priced_in"], text="符合预期，影响有限。"),
    ]
    asked = [
        Answer(system=BASE, citations=[], text="公司收入约为15亿元，同比增长约10%。"),
        Answer(system=TUNED, citations=[0], text="营业收入12.6亿元，同比增长8.4%。"),
        Answer(system=HOSTED, failure="超时：60 秒内没有回答"),
    ]
    worst = [
        Answer(system=BASE, impact="medium", direction="neutral", text="日元走强。"),
        Answer(
            system=TUNED,
            impact="low",
            impact_probs={"low": 0.88, "medium": 0.1, "high": 0.02},
            direction="neutral",
            direction_probs={"bearish": 0.2, "neutral": 0.6, "bullish": 0.2},
            text="与黄金关系不大。",
        ),
    ]
    return [
        Example(chosen="drawn", request=news, impact="high", direction="bearish", answers=first),
        Example(
            chosen="drawn",
            request=report,
            reference="营业收入12.6亿元，同比增长8.4%。",
            reference_citations=[0],
            answers=asked,
        ),
        Example(
            chosen="worst",
            request=NewsRequest(text="日本央行意外干预汇市", published_at=AT),
            impact="high",
            direction="bullish",
            answers=worst,
        ),
    ]


def training() -> Training:
    fit = {"temperature": 1.83, "biases": {}, "rows": 211, "nll_before": 1.31, "nll_after": 1.02}
    fit |= {"brier_before": 0.8, "brier_after": 0.6, "ece_before": 0.214, "ece_after": 0.047}
    return Training(
        system=TUNED,
        folder="runs/finance",
        info={
            "base": "deepseek-ai/deepseek-llm-7b-chat",
            "device": "Tesla T4",
            "quantization": "nf4",
            "precision": "float16",
            "options": {
                "epochs": 3.0,
                "learning_rate": 2e-4,
                "max_length": 512,
                "lora_r": 8,
                "lora_alpha": 16,
                "lora_dropout": 0.05,
            },
            "samples": 300,
            "trainable_parameters": 19_988_480,
            "total_parameters": 6_930_354_176,
            "trainable_share": 0.002884,
            "steps": 225,
            "epochs_done": 3.0,
            "seconds": 4512.3,
            "first_loss": 2.4127,
            "last_loss": 0.7316,
            "last_eval_loss": 0.9021,
            "batch_size_at_end": 4,
            "accumulation_at_end": 1,
            "events": [{"step": 120, "what": "resumed"}],
            "peak_memory_gib": 9.87,
            "file_bytes": {"adapter_model.safetensors": 40_012_345, "adapter_config.json": 1176},
        },
        calibration={
            "fields": {"impact": {"with_context": fit, "without_context": fit}, "direction": {"with_context": fit}}
        },
        loss_curve=None,
        adapter_bytes=40_012_345,
        edges=EDGES,
        splits={"train": "2025-08-01", "test": "2025-10-17"},
    )


EDGES: dict[str, Any] = {
    "impact": [1.028, 2.336],
    "direction": [-0.52, 0.723],
    "priced_in_pre_return": 0.002237,
    "wait_and_see_volatility": 0.002736,
    "wait_and_see_pre_return": 0.000595,
    "horizon_min": 15,
}


def people() -> People:
    return People(
        first=TUNED,
        second=BASE,
        pairs=20,
        ratings=40,
        raters=[
            Judges(name="王老师", pairs=20, better=12, equal=5, worse=3),
            Judges(name="李同学", pairs=20, better=10, equal=4, worse=6),
        ],
        win_rate=Estimate(value=0.66, low=0.54, high=0.77, rows=20),
        kappa=Estimate(value=0.41, low=0.12, high=0.68, rows=20),
        scales={
            scale: {
                TUNED: Estimate(value=4.1 - shift, low=3.7 - shift, high=4.4 - shift, rows=20),
                BASE: Estimate(value=2.9 + shift, low=2.5 + shift, high=3.3 + shift, rows=20),
            }
            for scale, shift in (("correct", 0.0), ("clear", 0.2), ("useful", 0.4))
        },
        kappa_scales={"correct": 0.52, "clear": None, "useful": 0.33},
    )


def card() -> dict[str, Any]:
    per_split = {"train": 1497, "val": 320, "test": 317}
    return {
        "source": "finance_analysis.db",
        "source_sha256": "cd" * 32,
        "notes": [],
        "ticker": "XAUUSD",
        "price_bars": 7173,
        "events_read": 2692,
        "events_dropped": {"advert or teaser": 10, "digest of several pieces of news": 463},
        "events": per_split,
        "events_with_context": {"train": 1411, "val": 298, "test": 298},
        "rows": {"train": 300, "val": 400, "test": 396},
        "rows_by_kind": {
            "news": {"train": 180, "val": 320, "test": 317},
            "report": {"train": 60, "val": 80, "test": 79},
        },
        "periods_utc": {split: ["2025-08-01T10:40:00+00:00", "2025-10-01T08:30:00+00:00"] for split in per_split},
        "embargo_min": 135,
        "edges": EDGES,
        "known_limits": ["短线方向接近随机，基线一节给出了参照，请勿据此交易。"],
        "baselines": {
            "test_events": 317,
            "test_days": 13,
            "resamples": 1000,
            "impact": {"logistic_regression_high": {"measure": "roc_auc", "value": 0.663, "interval": [0.57, 0.7863]}},
            "direction": {"majority": {"measure": "macro_f1", "value": 0.1752, "interval": [0.1478, 0.2039]}},
        },
        "teacher": None,
    }


# --- what can be missing ------------------------------------------------------------------------------------

VARIANTS = (
    "full",
    "no_labels",
    "few_rows",
    "failed_system",
    "no_baselines",
    "no_people",
    "cases_only",
    "no_evidence",
    "hostile",
)


def variant(name: str) -> ComparisonResult:
    result = full()
    match name:
        case "no_labels":
            return _without_labels(result)
        case "few_rows":
            few = "只有 12 行，少于 30 行，不给区间"
            data = result.data.model_copy(update={"news": 12, "labelled": 12, "reports": 0, "days": 1})
            measures = [
                m.model_copy(
                    update={
                        "systems": {
                            s: e.model_copy(update={"low": None, "high": None, "why_not": e.why_not or few, "rows": 12})
                            for s, e in m.systems.items()
                        }
                    }
                )
                for m in result.measures
            ]
            differences = [
                d.model_copy(
                    update={"low": None, "high": None, "lows": [], "highs": [], "verdict": "unknown", "why_not": few}
                )
                for d in result.differences
            ]
            return result.model_copy(update={"data": data, "measures": measures, "differences": differences})
        case "failed_system":
            failed = System(
                name="坏掉的适配器",
                kind="tuned",
                model="x",
                adapter="bad",
                asked=396,
                failed=396,
                failure="服务器没有这个适配器",
            )
            return result.model_copy(update={"systems": [*result.systems, failed]})
        case "no_baselines":
            systems = [s for s in result.systems if s.kind != "baseline"]
            return result.model_copy(
                update={
                    "systems": systems,
                    "measures": [
                        m.model_copy(update={"systems": {s: e for s, e in m.systems.items() if s not in BASELINES}})
                        for m in result.measures
                    ],
                    "differences": [d for d in result.differences if d.against == "base"],
                    "confusion": [c for c in result.confusion if c.system not in BASELINES],
                    "best_baseline": {},
                }
            )
        case "no_people":
            return result.model_copy(update={"people": None})
        case "cases_only":
            bare = _without_labels(result)
            data = bare.data.model_copy(
                update={"news": 2, "reports": 0, "with_context": 0, "first": None, "last": None, "sha256": None}
            )
            examples = [
                e.model_copy(update={"chosen": "asked", "impact": None, "direction": None, "reference": None})
                for e in result.examples
            ]
            return bare.model_copy(
                update={"data": data, "measures": [], "examples": examples, "card": None, "people": None, "notes": []}
            )
        case "no_evidence":
            bare_training = result.training[0].model_copy(
                update={"info": None, "calibration": None, "adapter_bytes": 0}
            )
            return result.model_copy(update={"training": [bare_training], "card": {"source": 3}, "people": None})
        case "hostile":
            return hostile()
    return result


def _without_labels(result: ComparisonResult) -> ComparisonResult:
    data = result.data.model_copy(update={"labelled": 0, "classes": {}, "days": 0})
    return result.model_copy(
        update={
            "data": data,
            "systems": [s for s in result.systems if s.kind != "baseline"],
            "measures": [m for m in result.measures if m.group in ("form", "speed")],
            "differences": [],
            "reliability": [],
            "confusion": [],
            "best_baseline": {},
        }
    )


def hostile() -> ComparisonResult:
    """Every text that others write is `HOSTILE`, and systems are named by it."""
    result = full()
    dumped = result.model_dump_json()
    for name in (BASE, TUNED, HOSTED):
        dumped = dumped.replace(f'"{name}"', json.dumps(HOSTILE + name))  # still told apart by its end
    changed = ComparisonResult.model_validate_json(dumped)
    examples = [
        e.model_copy(
            update={
                "request": NewsRequest(text=HOSTILE),
                "reference": HOSTILE,
                "answers": [
                    a.model_copy(update={"text": HOSTILE + "a" * i, "failure": HOSTILE})
                    for i, a in enumerate(e.answers)
                ],
            }
        )
        for e in changed.examples
    ]
    report = ReportRequest(question=HOSTILE, passages=[Passage(text=HOSTILE, source=HOSTILE)])
    examples.append(examples[0].model_copy(update={"request": report}))
    systems = [s.model_copy(update={"failure": HOSTILE, "failed": 1, "model": HOSTILE}) for s in changed.systems]
    assert changed.people is not None and changed.card is not None
    raters = [r.model_copy(update={"name": HOSTILE}) for r in changed.people.raters]
    return changed.model_copy(
        update={
            "examples": examples,
            "systems": systems,
            "people": changed.people.model_copy(update={"raters": raters}),
            "card": {**changed.card, "source": HOSTILE, "known_limits": [HOSTILE], "events_dropped": {HOSTILE: 3}},
            "notes": [HOSTILE],
            "reproduce": [HOSTILE],
            "versions": {HOSTILE: HOSTILE},
            "data": changed.data.model_copy(update={"source": HOSTILE}),
        }
    )

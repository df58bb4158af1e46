"""Parts of a comparison's result that are not figures: examples, an adapter's evidence, raters, a card. All made up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fintunnel.rating import Scale
from fintunnel.wire import Context, Figures, NewsRequest, Passage, ReportRequest
from fintunnel_training.comparison.result import Answer, Estimate, Example, People, RaterCounts, Training

BASE, TUNED, HOSTED = "deepseek-7b-chat", "finance-lora", "deepseek-flash"
AT = datetime(2025, 10, 17, 12, 30, tzinfo=UTC)


def examples() -> list[Example]:
    news = NewsRequest(
        text="美联储宣布加息25个基点，符合市场预期，声明称将视数据决定下一步",
        published_at=AT,
        importance=5,
        figures=Figures(actual=4.5, consensus=4.5, previous=4.25, unit="%", indicator="联邦基金利率"),
        context=Context(pre_return=-0.0031, volatility=0.0062, typical_move=0.00041),
    )
    before = "美联储加息25个基点，这会提高持有黄金的机会成本，通常利空金价。因此黄金必将大跌，投资者应当立即卖出。"
    after = (
        "加息25个基点，与预期的4.5%一致，消息已被计入。加息通常提高持有黄金的机会成本、支撑美元；"
        "此前120分钟金价已跌0.31%，属预期兑现。"
    )
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


SHIFTS: dict[Scale, float] = {"wording": 0.0, "reasoning": 0.2, "usefulness": 0.4}


def people() -> People:
    return People(
        first=TUNED,
        second=BASE,
        pairs=20,
        ratings=40,
        raters=[
            RaterCounts(name="王老师", pairs=20, better=12, equal=5, worse=3),
            RaterCounts(name="李同学", pairs=20, better=10, equal=4, worse=6),
        ],
        win_rate=Estimate(value=0.66, low=0.54, high=0.77, rows=20),
        kappa=Estimate(value=0.41, low=0.12, high=0.68, rows=20),
        scales={
            scale: {
                TUNED: Estimate(value=4.1 - shift, low=3.7 - shift, high=4.4 - shift, rows=20),
                BASE: Estimate(value=2.9 + shift, low=2.5 + shift, high=3.3 + shift, rows=20),
            }
            for scale, shift in SHIFTS.items()
        },
        kappa_scales={"wording": 0.52, "reasoning": None, "usefulness": 0.33},
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

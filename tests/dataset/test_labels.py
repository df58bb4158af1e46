from __future__ import annotations

import random
import re

import pytest
from fintunnel.wire import Context, Edges, Figures, Signals
from fintunnel_training.dataset.economics import _INDICATORS, _NEWS, expected_direction, news_kind
from fintunnel_training.dataset.labels import (
    LabelledEvent,
    compute_edges,
    direction_label,
    impact_label,
    signal_labels,
)
from fintunnel_training.dataset.rationale import explain, explain_market
from fintunnel_training.dataset.sources.figures import release_figures
from fintunnel_training.dataset.sources.records import Event

INDICATOR_EXAMPLES = (
    "美国8月失业率",
    "美国8月非农就业人口",
    "美国7月CPI年率",
    "美国至9月17日美联储利率决定",
    "美国至9月6日当周EIA原油库存",
    "美国石油钻井总数",
    "美国8月ISM制造业PMI",
    "美国7月贸易帐",
    "中国8月CPI年率",
    "英国央行利率决定",
    "德国8月失业率",
    "法国8月制造业PMI",
)
EDGES = Edges(
    impact=(1.0, 2.0),
    direction=(-0.5, 0.5),
    priced_in_pre_return=0.004,
    wait_and_see_volatility=0.006,
    wait_and_see_pre_return=0.001,
)


def context(pre_return: float, volatility: float = 0.005) -> Context:
    return Context(pre_return=pre_return, volatility=volatility, typical_move=0.0005)


def release(actual: float, consensus: float | None, indicator: str = "美国7月CPI年率") -> Event:
    figures = Figures(actual=actual, consensus=consensus, previous=2.0, unit="%", indicator=indicator)
    return Event("e", "calendar", 0, indicator, 4, figures)


def test_edges_are_the_quantiles_of_the_design() -> None:
    events = [LabelledEvent(release(1, 1), r / 1000, r, context(r / 1000, abs(r) / 100)) for r in range(-50, 51)]
    edges = compute_edges(events)
    assert edges.impact == (25.0, 40.0)
    assert edges.direction == pytest.approx((-50 + 100 / 3, -50 + 200 / 3))
    assert edges.priced_in_pre_return == pytest.approx(0.040)
    assert edges.wait_and_see_pre_return == pytest.approx(0.015)
    assert edges.wait_and_see_volatility == pytest.approx(0.35)


def test_impact_ignores_the_sign_and_direction_does_not() -> None:
    assert [impact_label(r, EDGES) for r in (0.0, -1.0, 1.1, -2.0, 2.1, -9.0)] == [
        "low", "low", "medium", "medium", "high", "high",
    ]  # fmt: skip
    assert [direction_label(r, EDGES) for r in (-0.6, -0.5, 0.0, 0.5, 0.6)] == [
        "bearish", "neutral", "neutral", "neutral", "bullish",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "pre_return", "priced_in"),
    [
        (release(2.5, 2.8), 0.005, True),  # cool inflation lifts gold, and gold had risen
        (release(2.5, 2.8), -0.005, False),
        (release(3.1, 2.8), -0.005, True),
        (release(2.8, 2.8), -0.005, True),  # in line: whatever the direction
        (release(2.5, 2.8), 0.003, False),  # too small a move
        (release(2.5, None), 0.005, False),
        (release(25, 22, "美国至8月2日当周初请失业金人数"), 0.005, True),  # more claims: weak jobs, gold up
        (release(2.5, 2.8, "德国7月CPI月率"), 0.005, False),  # argues both ways
    ],
)
def test_priced_in_is_a_large_move_the_way_the_release_points(event: Event, pre_return: float, priced_in: bool) -> None:
    signals = signal_labels(event, context(pre_return), EDGES)
    assert signals is not None and signals.priced_in is priced_in


def test_no_reaction_is_low_whatever_the_edges() -> None:
    edges = compute_edges([LabelledEvent(release(1, 1), 0.0, 0.0, context(0.001)) for _ in range(30)])
    assert impact_label(0.0, edges) == "low" and direction_label(0.0, edges) == "neutral"


def test_wait_and_see_is_a_wide_range_that_led_nowhere() -> None:
    def waits(pre_return: float, volatility: float) -> bool:
        signals = signal_labels(release(2, 2), context(pre_return, volatility), EDGES)
        assert signals is not None
        return signals.wait_and_see

    assert waits(0.0005, 0.007) and waits(-0.001, 0.006)
    assert not waits(0.002, 0.007) and not waits(0.0005, 0.005)


def test_no_signals_without_context() -> None:
    assert signal_labels(release(2, 2), None, EDGES) is None


def test_polarity_of_the_main_releases() -> None:
    def direction(indicator: str, actual: float, consensus: float) -> str | None:
        return expected_direction(Figures(actual=actual, consensus=consensus, indicator=indicator))

    assert direction("美国8月非农就业人口", 20, 10) == "down"
    assert direction("美国8月失业率", 4.5, 4.2) == "up"
    assert direction("美国8月ISM制造业PMI", 48, 50) == "up"
    assert direction("美国至9月17日美联储利率决定", 4.5, 4.25) == "down"
    assert direction("美国至9月6日当周EIA原油库存", 5, 1) is None
    assert direction("中国8月CPI年率", 1, 0) is None
    assert direction("中国8月CPI年率", 1, 1) == "in_line"


def test_a_rationale_states_the_surprise_with_sign_and_unit() -> None:
    for seed in range(20):
        text = explain(release(2.5, 2.8), context(0.0012, 0.0035), random.Random(seed))
        assert "2.5%" in text and "2.8%" in text and "0.3个百分点" in text and ("低" in text)
        assert "上涨0.12%" in text and "波幅0.35%" in text


def test_a_rationale_varies_and_compares_with_the_previous_figure_too() -> None:
    texts = {explain(release(2.5, 2.8), context(0.0012, 0.0035), random.Random(seed)) for seed in range(60)}
    assert len(texts) > 20
    assert any("比前值2%高0.5个百分点" in text for text in texts)


def test_the_move_before_is_compared_with_where_the_surprise_points() -> None:
    def texts(pre_return: float) -> str:
        return "".join(explain(release(2.5, 2.8), context(pre_return), random.Random(seed)) for seed in range(80))

    assert "方向一致" in texts(0.004) and "相反" not in texts(0.004)  # cool inflation points up
    assert "相反" in texts(-0.004) and "方向一致" not in texts(-0.004)
    german = release(2.5, 2.8, "德国7月CPI月率")  # argues both ways
    assert "方向" not in "".join(explain(german, context(0.004), random.Random(seed)) for seed in range(80))


def test_a_rationale_quotes_no_half_number_and_no_json_quote() -> None:
    flash = Event("f", "flash", 0, '美联储宣布"将基准利率"从先前水平下调至百分之4.25并称还会再降', None, None)
    for seed in range(8):
        text = explain(flash, None, random.Random(seed))
        assert "「美联储" in text and '"' not in text and "「美联储宣布将基准利率从先前水平下调至百分之…」" in text


def test_market_answers_speak_of_the_signals_that_hold() -> None:
    def text(priced_in: bool, wait_and_see: bool, seed: int) -> str:
        signals = Signals(priced_in=priced_in, wait_and_see=wait_and_see)
        return explain_market(release(2.5, 2.8), context(0.005), signals, random.Random(seed))

    for seed in range(12):
        assert "兑现" in text(True, False, seed) and "观望" not in text(True, False, seed)
        assert "观望" in text(False, True, seed) and "兑现" not in text(False, True, seed)
    assert "无法判断" in explain_market(release(2.5, 2.8), None, None, random.Random(0))


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("美国8月某价格指数年率 2.9%，预期2.9%，前值2.7%。", (2.9, 2.9, 2.7, "%")),
        ("美国8月某价格指数年率 前值:2.70 预期:2.90 公布:-2.9", (-2.9, 2.9, 2.7, None)),
        ("美国至9月6日当周某库存 381.5万桶，预期-180万桶，前值241.5万桶。", (381.5, -180, 241.5, "万桶")),
    ],
)
def test_a_release_told_as_a_flash_is_understood(text: str, figures: tuple[float, float, float, str | None]) -> None:
    found = release_figures(Event("f", "flash", 0, text, None, None))
    assert found is not None and (found.actual, found.consensus, found.previous, found.unit) == figures
    assert found.indicator and found.indicator.startswith("美国") and "预期" not in found.indicator


@pytest.mark.parametrize(
    "text", ["金价日内涨0.38%，预期将继续。", "某公司营收 12亿元，同比增3%", "今年预期3次降息，前值2次"]
)
def test_other_flashes_are_no_release(text: str) -> None:
    assert release_figures(Event("f", "flash", 0, text, None, None)) is None


@pytest.mark.parametrize("indicator", INDICATOR_EXAMPLES)
def test_what_an_indicator_means_is_said_both_ways(indicator: str) -> None:
    for actual in (2.0, 3.0):
        for seed in range(8):
            text = explain(release(actual, 2.5, indicator), None, random.Random(seed))
            both = "但" in text or "间接" in text or "关联较弱" in text or "取决于" in text
            assert both, text


def test_an_american_indicator_is_never_called_foreign() -> None:
    for indicator in ("美国7月贸易帐", "美国7月平均每小时工资年率", "美国8月营建许可", "美国第二季度单位劳动力成本"):
        text = explain(release(2.0, 2.5, indicator), None, random.Random(1))
        assert "非美" not in text and "该国" not in text


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("10年期美债收益率跌破4%", "美元与美债"),
        ("相关税收政策的通知印发，涉及社保基金", "综合要闻"),
        ("美国宣布对半导体加征关税", "贸易与关税"),
        ("某国央行连续第十个月增持黄金", "黄金供需"),
        ("瑞士央行行长称可将利率降至零以下", "央行政策"),
        ("商务部谈铁路旅游", "中国政策与市场"),
        ("无人机袭击炼油厂", "地缘局势"),
        ("总统登上专机", "政局"),
    ],
)
def test_a_text_is_taken_for_the_kind_of_news_that_it_is(text: str, kind: str) -> None:
    assert news_kind(text).name == kind


def test_a_surprise_in_words_decides_what_is_said() -> None:
    def text(news: str) -> str:
        return "".join(explain(Event("f", "flash", 0, news, 3, None), None, random.Random(seed)) for seed in range(12))

    weak, strong = text("美国8月非农数据大幅低于预期"), text("美国8月核心CPI环比高于市场预期")
    assert "就业走弱" in weak and "就业强劲" not in weak
    assert "通胀偏热" in strong and "降温" not in strong
    assert "没有意外" in text("美国8月零售销售月率符合预期")


def test_no_reason_says_how_large_the_effect_is() -> None:
    """That is the label's to say, and it would contradict the half of them."""
    said = "".join("".join(kind.why) for kind in _NEWS) + "".join(
        "".join(indicator.above + indicator.below) for indicator in _INDICATORS
    )
    assert not re.search(
        r"影响(?:通常|较|很)?(?:有限|较小|不大|明显|很大)|幅度|大涨|大跌|没有直接的传导|难以改变", said
    )

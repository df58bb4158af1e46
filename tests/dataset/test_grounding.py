from __future__ import annotations

import time

import pytest
from fintunnel_training.dataset.grounding import figures_not_in, hindsight

SOURCE = (
    "判断影响\n美国7月CPI年率 实际2.7%，预期2.8%，前值2.6%；此前120分钟+0.32%，常见15分钟波动0.160%；营收1,200.50万元"
)


@pytest.mark.parametrize(
    "answer",
    [
        "该消息发布后15分钟内，XAUUSD上涨0.27%",
        "消息公布后十五分钟内金价走高",
        "公布后一刻钟，黄金冲高",
        "发布后30min，黄金跌0.3%",
        "数据出炉后金价短线拉升8美元",
        "黄金随即上涨0.3%",
        "市场随后大幅走高",
        "金价从3340涨到3349",
        "后15分钟涨跌：0.27%",
        "实际走势为上涨",
        "事后来看，判断正确",
        "XAUUSD gained 0.27% in the 15 minutes after publication",
        "实际值低于预期，贸易商买入后15分钟内金价走高",
    ],
)
def test_what_came_after_is_hindsight(answer: str) -> None:
    assert hindsight(answer, SOURCE)


@pytest.mark.parametrize(
    "answer",
    [
        "发布前120分钟金价上涨0.32%，波幅0.5%",
        "消息前30分钟内金价下跌",
        "数据公布后金价可能上涨",
        "若数据公布后美元走强，黄金或下跌",
        "降息落地后15分钟内通常上涨",
        "消息后波动放大，15分钟内方向难定",
        "对金价随后15分钟的影响偏利好",
        "结果显示CPI上涨2.7%",
        "实际值2.7%，低于预期2.8%",
    ],
)
def test_guesses_rules_and_the_time_before_are_no_hindsight(answer: str) -> None:
    assert hindsight(answer, SOURCE) == []


def test_a_phrase_quoted_from_the_source_is_no_hindsight() -> None:
    quoted = "金价短线拉升8美元"
    assert hindsight(f"消息「{quoted}」属于黄金市场", f"快讯：{quoted}。") == []
    assert hindsight(f"消息「{quoted}」属于黄金市场", "快讯：金价持稳。") != []


@pytest.mark.parametrize(
    "answer",
    [
        "实际2.7%，低于预期2.8%，相差0.1个百分点，高于前值2.6%",
        "较前值变化3.85%",  # 2.7 / 2.6 - 1
        "涨跌约为常见15分钟波动的2.0倍",
        "涨跌约为常见波动的2倍",
        "1. 通胀放缓\n2. 利好黄金\n（3）关注美元",
        "①通胀放缓；②利好黄金",
        "15分钟内方向难定，G7与A50不受影响",
        "营收1200.5万元，即1200.50万元，合0.12亿元",
    ],
)
def test_stated_and_computed_figures_are_grounded(answer: str) -> None:
    assert figures_not_in(answer, SOURCE) == []


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("XAUUSD上涨0.27%", ["0.27"]),
        ("目标价3,500美元，止损3300", ["3,500", "3300"]),
        ("涨跌约为常见波动的9.5倍", ["9.5"]),
        ("预期2.85%", ["2.85"]),
        ("2.7%之后是0.27%，还是0.27%", ["0.27"]),
    ],
)
def test_invented_figures_are_named_once(answer: str, missing: list[str]) -> None:
    assert figures_not_in(answer, SOURCE) == missing


def test_a_hostile_text_takes_no_time() -> None:
    for text in ("1" * 50_000, "9 " * 20_000, "发布后" * 20_000, "15分钟内" * 10_000):
        started = time.monotonic()
        figures_not_in(text, SOURCE)
        hindsight(text, SOURCE)
        assert time.monotonic() - started < 3


def test_full_width_figures_are_the_same_figures() -> None:
    assert figures_not_in("实际２．７％", SOURCE) == []


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("涨3%", "金价312.5"),
        ("跌7.1%", "金价71200"),
        ("目标12", "成交 1,187"),
        ("占45%", "持仓4,512"),
        ("报三千五百美元", "金价走高"),
        ("高百分之二点五", "金价走高"),
    ],
)
def test_a_short_figure_is_not_excused_by_a_longer_one(answer: str, source: str) -> None:
    assert figures_not_in(answer, source)


@pytest.mark.parametrize(
    ("answer", "source"),
    [
        ("约1.2万吨", "共12,040吨"),
        ("合0.25个百分点", "加息25个基点"),
        ("占45.1%", "份额0.4512"),
        ("三千五百美元", "报三千五百美元一线"),
        ("12亿元", "120,000万元"),
    ],
)
def test_a_figure_may_be_told_in_another_unit(answer: str, source: str) -> None:
    assert figures_not_in(answer, source) == []


@pytest.mark.parametrize(
    "answer",
    [
        "公布后金价随即冲高，空头回补。",
        "行情随后下挫，验证了利空判断。",
        "消息一出金价即跳涨。",
        "金价闻讯走高。",
        "黄金创历史新高。",
        "市场最终选择了上涨。",
        "当晚金价大涨。",
        "事实证明利好。",
    ],
)
def test_hindsight_without_figures_is_found(answer: str) -> None:
    assert hindsight(answer)


def test_a_headline_quoted_without_its_brackets_is_no_hindsight() -> None:
    assert hindsight("消息「财报公布后，某车企美股大跌17%」", "财报公布后，某车企(XYZ.N)美股大跌17%") == []

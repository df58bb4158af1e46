from __future__ import annotations

import pytest
from fintunnel_training.comparison.writing import foreign_share, repeated_share, right_figures, says_not_stated

SOURCE = "甲公司2023年的营收增幅是多少？\n甲公司2023年报 营收435.61亿元（上年389.28）；净利润39.03。"
REFERENCE = "同比增长11.90%：上年营业收入为389.28亿元，本年为435.61亿元。"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (REFERENCE, True),
        ("增长11.9%。", True),  # without the steps, and without the zero
        ("营收增长了 11.90 %，由389.28亿元增至435.61亿元", True),
        ("增长11.91%。", False),
        ("由389.28亿元增至435.61亿元", False),  # the question is not answered
        ("增长11.90%，市占率77.7%。", False),  # a figure that nothing supports
        ("资料未提及。", False),
        ("", False),
    ],
)
def test_an_answer_is_right_by_its_figures(answer: str, right: bool) -> None:
    assert right_figures(answer, REFERENCE, SOURCE) == right


def test_a_fall_is_no_rise_and_without_a_figure_there_is_nothing_to_compare() -> None:
    assert right_figures("同比下降11.90%。", REFERENCE, SOURCE) is False
    assert right_figures("11.90%", REFERENCE, SOURCE)
    assert right_figures("不知道", "主要由于订单增加", SOURCE) is None


def test_where_the_result_stands_in_the_passages_it_has_to_be_named() -> None:
    assert right_figures("净利润为39.03亿元。", "39.03亿元", SOURCE)
    assert not right_figures("净利润为435.61亿元。", "39.03亿元", SOURCE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("资料未提及该公司的毛利率。", True),
        ("所给资料没有披露现金流。", True),
        ("无法计算，资料里没有成本。", True),
        ("同比增长11.90%。", False),
        ("", False),
    ],
)
def test_saying_that_the_passages_do_not_say(text: str, said: bool) -> None:
    assert says_not_stated(text) == said


def test_repetition_counts_what_had_been_there_before() -> None:
    assert repeated_share("美元走强，金价承压，短线观望。") == 0
    assert repeated_share("金价承压。" * 20) > 0.9
    assert 0 < repeated_share("实际高于预期，金价短线承压。实际高于预期，利好美元。") < 0.5
    assert repeated_share("") == repeated_share("金价") == 0


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("美国CPI同比3.2%，高于预期的3.1%（前值3.0%）。", 0),
        ("金价gold走高", 4 / 8),
        ("金价走高\ufffd", 1 / 5),
        ("золото", 1),
        ("", 0),
    ],
)
def test_foreign_characters_are_those_that_finance_text_does_not_have(text: str, share: float) -> None:
    assert foreign_share(text, "金价走高") == pytest.approx(share)


def test_a_word_of_the_source_is_not_foreign() -> None:
    assert foreign_share("特斯拉Model降价", "特斯拉 Model Y 降价") == 0 < foreign_share("特斯拉Model降价", "特斯拉降价")

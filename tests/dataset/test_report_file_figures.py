"""Figures in the user's own reports: which are recognised, by which name and period, and which are left alone."""

from __future__ import annotations

import pytest
from fintunnel_training.dataset.reports.file_figures import find_figures

from tests.dataset.test_report_files import REPORT


def stated(text: str, title: str = "") -> dict[tuple[str, str], str]:
    return {(figure.name, figure.period): figure.written for figure in find_figures(text, title)}


def test_figures_are_found_by_name_with_their_unit() -> None:
    found = {figure.name: (figure.written, figure.change) for figure in find_figures(REPORT)}
    assert found == {
        "营业收入": ("1,250.00万元", "增长8.50%"),
        "归母净利润": ("96.30万元", None),
        "净利润": ("100.00万元", None),
        "总资产": ("3,000.00万元", None),
        "总负债": ("1,200.00万元", None),
        "经营活动现金流量净额": ("-45.60万元", None),
    }


def test_figures_that_follow_without_a_mark_are_found() -> None:
    text = "净利润4.15亿元资产总额88.00亿元，负债总额35.20亿元毛利率35.00%研发费用1.20亿元营业成本21.58亿元"
    assert {name: written for (name, _), written in stated(text).items()} == {
        "净利润": "4.15亿元", "总资产": "88.00亿元", "总负债": "35.20亿元", "毛利率": "35.00%",
        "研发费用": "1.20亿元", "营业成本": "21.58亿元",
    }  # fmt: skip


def test_a_line_about_the_year_before_narrows_only_itself() -> None:
    text = "营业收入33.20亿元 上年同期营业收入30.00亿元 营业成本21.58亿元"
    assert stated(text) == {("营业收入", ""): "33.20亿元", ("营业成本", ""): "21.58亿元"}
    assert stated("上年同期： 营业收入30.00亿元 营业成本21.58亿元") == {}
    assert stated("上年同期营业收入30.00亿元，净利润3.00亿元") == {}


def test_a_name_without_a_figure_of_its_own_is_no_second_answer() -> None:
    text = "营业收入较2022年增长10%，主要因为销量上升。营业收入为12.00亿元。"
    assert stated(text) == {("营业收入", ""): "12.00亿元"}


def test_longer_names_are_items_of_their_own() -> None:
    text = (
        "扣除非经常性损益后的净利润3.00亿元，流动负债合计2.00亿元，非流动负债合计1.00亿元，"
        "负债合计3.10亿元，销售费用率5.00%。"
    )
    assert {name for name, _ in stated(text)} == {"扣非净利润", "流动负债", "非流动负债", "总负债", "销售费用率"}


def test_figures_of_two_years_are_told_apart() -> None:
    text = "公司实现营业收入56.00亿元。2022年，营业收入为48.00亿元，截至2022年12月31日，总资产90.00亿元。"
    assert stated(text, "甲公司2023年报") == {
        ("营业收入", "2023年"): "56.00亿元",
        ("营业收入", "2022年"): "48.00亿元",
        ("总资产", "2022年"): "90.00亿元",
    }
    assert stated("2023年上半年营业收入为5.00亿元。") == {("营业收入", "2023年上半年"): "5.00亿元"}
    # Without a title that says it, which year the first one is of stays open.
    assert stated(text) == {("总资产", "2022年"): "90.00亿元"}


@pytest.mark.parametrize(
    "text",
    [
        "上年营业收入为12亿元。",
        "去年，公司实现营业收入12亿元。",
        "子公司实现营业收入12亿元。",
        "母公司营业收入12亿元。",
        "黄金业务营业收入12亿元。",
        "预计公司实现营业收入12亿元。",
        "营业收入为10亿元至12亿元。",
        "营业收入约12亿元。",
        "营业收入12亿元左右。",
        "营业收入12亿美元。",
        "营业收入为12亿元，合并前的营业收入是11亿元。",
        "营业收入和净利润分别为12亿元和1亿元。",
        "营业收入 1,250.00 1,100.00",
        "营业收入 12.50亿元 11.00亿元",
        "毛利率为12亿元。",
        "每股净利润0.50元/股。",
    ],
)
def test_figures_of_other_years_parts_or_plans_and_unclear_ones_are_left_alone(text: str) -> None:
    assert find_figures(text) == ()

"""Reads simulated report passages and questions back from their text: whose figures, of which period, of what.
Shares no code with what wrote them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from fintunnel.wire import Passage

__all__ = [
    "COMPANY",
    "GOLD",
    "ITEMS",
    "Passages",
    "UnreadableError",
    "companies",
    "company",
    "hundredths",
    "item_of",
    "period_before",
    "quarters",
    "units",
    "year_of",
]

_FIGURE = r"(?:为|：|｜)?(-?\d+\.\d\d)"
_BEFORE = r"(?:[一-鿿/]{0,3}[（，｜](?:上年|上季)?[为：]?(-?\d+\.\d\d))?"
ITEMS = {
    "revenue": r"(?<!业务)(?:营业收入|营收)(?:合计)?",
    "cost": "营业成本",
    "net_profit": "净利润|净亏损",
    "selling": "销售费用",
    "administration": "管理费用",
    "assets": "总资产|资产总额",
    "liabilities": "总负债|负债总额",
    "current_assets": "流动资产",
    "current_liabilities": "流动负债",
    "operating_cash": "经营活动现金流量净额|经营现金流净额",
    "central_banks": "央行净购金|央行净买入黄金",
    "etf_holdings": "黄金ETF持仓",
    "open_interest": "(?:纽约)?COMEX黄金未平仓合约|COMEX期金持仓量",
    "jewellery": "金饰需求",
    "bars": "金条金币需求",
    "total_demand": "黄金总需求",
    "premium": "国内现货溢价",
}
_SEGMENTS = "黄金首饰|矿产金|电子元件|仓储服务|大宗贸易|新材料|设备租赁|零售门店|精炼加工"
COMPANY = r"(?:恒川|启岳|澄海|远岫|禾丰|星桥|瑞陵|江畔|云麓|北辰|松涛|砚山|沐野)[一-鿿]{2}"
GOLD = "黄金市场"
_UNITS = re.compile(
    r"(?<=\d)(?:百万元|亿元|万元|吨|万手|元/克)|(?<=单位)(?:百万元|亿元|万元|吨|万手|元/克)|(?<=单位：)\w+"
)


_STATED = re.compile(f"({'|'.join(ITEMS.values())}|(?:{_SEGMENTS})业务收入){_FIGURE}{_BEFORE}")


class UnreadableError(Exception):
    """The text does not say what is looked for, or says it twice."""


class _Reading(NamedTuple):
    passage: int
    value: Fraction


class Passages:
    """(whose, period, item) → where it stands; `used` collects the passages that were looked into."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.readings: dict[tuple[str, str, str], list[_Reading]] = {}
        self.used: set[int] = set()
        for index, passage in enumerate(passages):
            whose, period = _heading(passage.source)
            for name, value, before in _STATED.findall(passage.text):
                item = _item_named(name)
                self._add((whose, period, item), index, -_exact(value) if name == "净亏损" else _exact(value))
                if before:
                    self._add((whose, period_before(period), item), index, _exact(before))

    def _add(self, fact: tuple[str, str, str], index: int, value: Fraction) -> None:
        self.readings.setdefault(fact, []).append(_Reading(index, value))

    def get(self, whose: str, period: str, item: str) -> Fraction:
        found = self.readings.get((whose, period, item), [])
        if len(found) != 1:
            raise UnreadableError(f"{whose}{period}的 {item} 在资料里出现 {len(found)} 次")
        self.used.add(found[0].passage)
        return found[0].value

    def states(self, whose: str, period: str, item: str) -> bool:
        return (whose, period, item) in self.readings


@cache
def _item_named(name: str) -> str:
    """The key of `ITEMS`; a segment's revenue is an item of its own."""
    return next((item for item, names in ITEMS.items() if re.fullmatch(names, name)), name)


def _exact(figure: str) -> Fraction:
    return Fraction(int(figure.replace(".", "")), 100)


def _heading(source: str) -> tuple[str, str]:
    quarter = re.search(r"\d{4}年第[一二三四]季度", source)
    if quarter:
        return GOLD, quarter[0]
    annual = re.match(r"(\D+)(\d{4})年", source)
    if annual is None:
        raise UnreadableError(f"看不懂来源「{source}」")
    return annual[1], annual[2]


def period_before(period: str) -> str:
    if len(period) == 4:
        return str(int(period) - 1)
    year, quarter = int(period[:4]), "一二三四".index(period[6])
    return f"{year}年第{'一二三四'[quarter - 1]}季度" if quarter else f"{year - 1}年第四季度"


def company(question: str) -> str:
    return companies(question)[0]


def companies(question: str) -> list[str]:
    found = re.findall(COMPANY, question)
    if not found:
        raise UnreadableError("没有提到公司")
    return found


def year_of(question: str) -> str:
    years = re.findall(r"\d{4}(?=年)", question)
    if not years:
        raise UnreadableError("问题里没有年份")
    return str(max(years))


def quarters(question: str) -> list[str]:
    """The quarters asked about, the later one first."""
    return sorted(re.findall(r"\d{4}年第[一二三四]季度", question), key=_quarter_order, reverse=True)


def _quarter_order(period: str) -> tuple[str, int]:
    return period[:4], "一二三四".index(period[6])


def item_of(question: str) -> str:
    for item, names in ITEMS.items():
        if item != "total_demand" and re.search(names, question):
            return item
    raise UnreadableError("问题里没有可识别的项目")


def hundredths(value: Fraction) -> str:
    """Two decimals, halves away from zero."""
    cents = int(abs(value) * 100 + Fraction(1, 2))
    return f"{'-' if value < 0 and cents else ''}{cents // 100}.{cents % 100:02d}"


def units(text: str) -> set[str]:
    """The units in which `text` gives figures."""
    return set(_UNITS.findall(text))

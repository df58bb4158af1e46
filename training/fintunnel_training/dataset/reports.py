"""Report questions over simulated company figures. Every answer is computed from the figures that the passages
state; where the passages do not say, the answer says so. Companies and numbers are invented."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from fintunnel.wire import Passage, ReportRequest

__all__ = ["KINDS", "ReportExample", "make_report"]

_PREFIXES = ("恒川", "启岳", "澄海", "远岫", "禾丰", "星桥", "瑞陵", "江畔", "云麓", "北辰")
_TRADES = ("矿业", "珠宝", "精密", "能源", "电子", "医药", "物流", "食品")


@dataclass(frozen=True)
class ReportExample:
    """`passages` of the request hold what `citations` (indices) and `answer` are computed from."""

    kind: str
    request: ReportRequest
    citations: list[int]
    answer: str


@dataclass(frozen=True)
class _Company:
    """Figures of one year in units of 0.01 亿元, so that sums and differences are exact."""

    name: str
    year: int
    revenue: int
    previous_revenue: int
    cost: int
    net_profit: int
    operating_cash: int
    assets: int
    liabilities: int

    @property
    def source(self) -> str:
        return f"{self.name}{self.year}年报"


def make_report(rng: random.Random, kind: str) -> ReportExample:
    """One question of `kind` (a key of `KINDS`) over freshly simulated figures."""
    return KINDS[kind](rng)


def _number(hundredths: int) -> str:
    return f"{hundredths / 100:.2f}"


def _yi(hundredths: int) -> str:
    return f"{_number(hundredths)}亿元"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole * 100:.2f}%"


def _company(rng: random.Random, year: int, other_than: str = "") -> _Company:
    name = other_than
    while name == other_than:
        name = rng.choice(_PREFIXES) + rng.choice(_TRADES)
    previous = rng.randint(800, 90_000)
    revenue = round(previous * rng.uniform(0.75, 1.45))
    cost = round(revenue * rng.uniform(0.5, 0.88))
    assets = round(revenue * rng.uniform(0.9, 2.4))
    return _Company(
        name=name,
        year=year,
        revenue=revenue,
        previous_revenue=previous,
        cost=cost,
        net_profit=round((revenue - cost) * rng.uniform(0.15, 0.6)),
        operating_cash=round(revenue * rng.uniform(-0.05, 0.25)),
        assets=assets,
        liabilities=round(assets * rng.uniform(0.25, 0.8)),
    )


def _income(c: _Company, rng: random.Random) -> Passage:
    text = rng.choice(
        (
            f"（单位：亿元）营业收入{_number(c.revenue)}，上年{_number(c.previous_revenue)}；"
            f"营业成本{_number(c.cost)}；净利润{_number(c.net_profit)}。",
            f"本年营收{_number(c.revenue)}亿元（上年{_number(c.previous_revenue)}亿元），"
            f"成本{_number(c.cost)}亿元，净利润{_number(c.net_profit)}亿元。",
        )
    )
    return Passage(text=text, source=c.source, page=rng.randint(5, 30))


def _balance(c: _Company, rng: random.Random) -> Passage:
    text = rng.choice(
        (
            f"（单位：亿元）年末总资产{_number(c.assets)}，总负债{_number(c.liabilities)}；"
            f"经营活动现金流净额{_number(c.operating_cash)}。",
            f"年末资产{_number(c.assets)}亿元，负债{_number(c.liabilities)}亿元，"
            f"经营现金流净额{_number(c.operating_cash)}亿元。",
        )
    )
    return Passage(text=text, source=c.source, page=rng.randint(31, 80))


def _one_company(
    rng: random.Random, kind: str, about: Callable[[_Company, random.Random], Passage], question: str
) -> tuple[_Company, Callable[[str], ReportExample]]:
    """A company with both of its passages in random order; the second value finishes the example."""
    company = _company(rng, rng.randint(2021, 2024))
    passages = [_income(company, rng), _balance(company, rng)]
    relevant = 0 if about is _income else 1
    if rng.random() < 0.5:
        passages.reverse()
        relevant = 1 - relevant
    request = ReportRequest(question=question.format(name=company.name, year=company.year), passages=passages)
    return company, lambda answer: ReportExample(kind, request, [relevant], answer)


def _growth(rng: random.Random) -> ReportExample:
    c, finish = _one_company(rng, "growth", _income, "{name}{year}年营业收入同比增长多少？")
    change = c.revenue - c.previous_revenue
    word = "增长" if change >= 0 else "下降"
    rate = _percent(abs(change), c.previous_revenue)
    return finish(f"营业收入由{_yi(c.previous_revenue)}变为{_yi(c.revenue)}，同比{word}{rate}。")


def _gross_margin(rng: random.Random) -> ReportExample:
    c, finish = _one_company(rng, "gross_margin", _income, "{name}{year}年的毛利率是多少？")
    profit = c.revenue - c.cost
    return finish(f"毛利为{_yi(profit)}，营业收入为{_yi(c.revenue)}，毛利率为{_percent(profit, c.revenue)}。")


def _net_margin(rng: random.Random) -> ReportExample:
    c, finish = _one_company(rng, "net_margin", _income, "{name}{year}年的净利率是多少？")
    return finish(f"净利润{_yi(c.net_profit)}，营业收入{_yi(c.revenue)}，净利率为{_percent(c.net_profit, c.revenue)}。")


def _leverage(rng: random.Random) -> ReportExample:
    c, finish = _one_company(rng, "leverage", _balance, "{name}{year}年末的资产负债率是多少？")
    return finish(
        f"总负债{_yi(c.liabilities)}，总资产{_yi(c.assets)}，资产负债率为{_percent(c.liabilities, c.assets)}。"
    )


def _cash_flow(rng: random.Random) -> ReportExample:
    c, finish = _one_company(rng, "cash_flow", _balance, "{name}{year}年经营活动现金流净额是多少，是净流入还是净流出？")
    word = "净流入" if c.operating_cash >= 0 else "净流出"
    return finish(f"经营活动现金流净额为{_yi(c.operating_cash)}，为{word}。")


def _comparison(rng: random.Random) -> ReportExample:
    year = rng.randint(2021, 2024)
    first = _company(rng, year)
    second = _company(rng, year, other_than=first.name)
    while second.revenue == first.revenue or second.name == first.name:
        second = _company(rng, year, other_than=first.name)
    larger, smaller = (first, second) if first.revenue > second.revenue else (second, first)
    request = ReportRequest(
        question=f"{year}年{first.name}和{second.name}谁的营业收入更高，高多少？",
        passages=[_income(first, rng), _income(second, rng)],
    )
    answer = (
        f"{larger.name}更高：{_yi(larger.revenue)}，{smaller.name}为{_yi(smaller.revenue)}，"
        f"高{_yi(larger.revenue - smaller.revenue)}。"
    )
    return ReportExample("comparison", request, [0, 1], answer)


def _not_stated(rng: random.Random) -> ReportExample:
    company = _company(rng, rng.randint(2021, 2024))
    asked = rng.choice(("研发费用", "员工人数", "每股分红", "存货周转天数", "海外收入占比"))
    request = ReportRequest(
        question=f"{company.name}{company.year}年的{asked}是多少？",
        passages=[_income(company, rng), _balance(company, rng)],
    )
    return ReportExample("not_stated", request, [], f"资料未提及{asked}，无法回答。")


KINDS: dict[str, Callable[[random.Random], ReportExample]] = {
    "growth": _growth,
    "gross_margin": _gross_margin,
    "net_margin": _net_margin,
    "leverage": _leverage,
    "cash_flow": _cash_flow,
    "comparison": _comparison,
    "not_stated": _not_stated,
}

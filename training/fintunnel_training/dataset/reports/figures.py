"""Simulated figures: companies over several years and the gold market over several quarters. All are invented.

Every figure is an integer of 0.01 units, so that sums, differences and comparisons are exact.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

__all__ = [
    "GOLD_UNITS",
    "NAMES",
    "Company",
    "Quarter",
    "change_word",
    "company_name",
    "number",
    "percent",
    "previous_quarter",
    "quarter_name",
    "ratio",
    "simulate_company",
    "simulate_gold_market",
]

# What reports call an item; the first name is the one that answers use.
NAMES: dict[str, tuple[str, ...]] = {
    "revenue": ("营业收入", "营收"),
    "cost": ("营业成本",),
    "net_profit": ("净利润",),
    "selling": ("销售费用",),
    "administration": ("管理费用",),
    "assets": ("总资产", "资产总额"),
    "liabilities": ("总负债", "负债总额"),
    "current_assets": ("流动资产",),
    "current_liabilities": ("流动负债",),
    "operating_cash": ("经营活动现金流量净额", "经营现金流净额"),
    "central_banks": ("央行净购金", "央行净买入黄金"),
    "etf_holdings": ("黄金ETF持仓",),
    "open_interest": ("纽约COMEX黄金未平仓合约", "COMEX期金持仓量"),
    "jewellery": ("金饰需求",),
    "bars": ("金条金币需求",),
    "total_demand": ("黄金总需求",),
    "premium": ("国内现货溢价",),
}
GOLD_UNITS = {
    "central_banks": "吨",
    "etf_holdings": "吨",
    "open_interest": "万手",
    "jewellery": "吨",
    "bars": "吨",
    "total_demand": "吨",
    "premium": "元/克",
}
_PREFIXES = ("恒川", "启岳", "澄海", "远岫", "禾丰", "星桥", "瑞陵", "江畔", "云麓", "北辰", "松涛", "砚山", "沐野")
_TRADES = ("矿业", "珠宝", "精密", "能源", "电子", "医药", "物流", "食品", "化工", "建材")
_SEGMENTS = ("黄金首饰", "矿产金", "电子元件", "仓储服务", "大宗贸易", "新材料", "设备租赁", "零售门店", "精炼加工")
_UNITS = (("亿元", 1), ("亿元", 1), ("万元", 10), ("百万元", 10))
_LOSS_SHARE = 0.18  # of the years of a company


@dataclass(frozen=True)
class Company:
    """`years`: year → item key → figure; `segments`: year → segment name → revenue, adding up to the year's."""

    name: str
    unit: str
    years: dict[int, dict[str, int]]
    segments: dict[int, dict[str, int]]

    @property
    def last_year(self) -> int:
        return max(self.years)


Quarter = tuple[int, int]  # year, 1..4


def number(hundredths: int) -> str:
    whole, rest = divmod(abs(hundredths), 100)
    return f"{'-' if hundredths < 0 else ''}{whole}.{rest:02d}"


def percent(part: int, whole: int) -> str:
    """`part` / `whole` in percent with two decimals, halves away from zero."""
    return f"{_two_decimals(Decimal(part) * 100 / Decimal(whole))}%"


def ratio(part: int, whole: int) -> str:
    return str(_two_decimals(Decimal(part) / Decimal(whole)))


def _two_decimals(value: Decimal) -> Decimal:
    rounded = value.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return rounded if rounded else abs(rounded)  # no "-0.00"


def change_word(change: int, words: tuple[str, str] = ("增长", "下降")) -> str:
    return words[0] if change >= 0 else words[1]


def company_name(rng: random.Random, *taken: str) -> str:
    while True:
        name = rng.choice(_PREFIXES) + rng.choice(_TRADES)
        if not any(name[:2] == other[:2] for other in taken):
            return name


def simulate_company(rng: random.Random, *taken: str, last_year: int | None = None, unit: str = "") -> Company:
    """A company over three years, named unlike `taken`. Revenue, cost, assets and all liabilities are above 0;
    net profit is never 0 but may be a loss, operating cash may flow out."""
    last_year = last_year or rng.randint(2020, 2025)
    by_unit = dict(_UNITS)
    unit = unit or rng.choice(_UNITS)[0]
    revenue = rng.randint(800, 90_000) * by_unit[unit] + rng.randrange(by_unit[unit])
    names = rng.sample(_SEGMENTS, 3)
    years, segments = {}, {}
    for year in range(last_year - 2, last_year + 1):
        revenue = max(500, round(revenue * rng.uniform(0.75, 1.4)))
        years[year] = _year(rng, revenue)
        first = round(revenue * rng.uniform(0.3, 0.6))
        second = round((revenue - first) * rng.uniform(0.3, 0.8))
        segments[year] = dict(zip(names, (first, second, revenue - first - second), strict=True))
    return Company(company_name(rng, *taken), unit, years, segments)


def _year(rng: random.Random, revenue: int) -> dict[str, int]:
    cost = round(revenue * rng.uniform(0.5, 0.88))
    assets = round(revenue * rng.uniform(0.9, 2.4))
    liabilities = round(assets * rng.uniform(0.25, 0.9))
    current_assets = round(assets * rng.uniform(0.2, 0.7))
    profit = max(1, round((revenue - cost) * rng.uniform(0.15, 0.6)))
    return {
        "revenue": revenue,
        "cost": cost,
        "net_profit": -profit if rng.random() < _LOSS_SHARE else profit,
        "selling": max(1, round(revenue * rng.uniform(0.01, 0.12))),
        "administration": max(1, round(revenue * rng.uniform(0.01, 0.09))),
        "assets": assets,
        "liabilities": liabilities,
        "current_assets": current_assets,
        "current_liabilities": max(1, round(min(liabilities, current_assets) * rng.uniform(0.4, 1.0))),
        "operating_cash": round(revenue * rng.uniform(-0.08, 0.25)) or 1,
    }


def simulate_gold_market(rng: random.Random) -> dict[Quarter, dict[str, int]]:
    """Six quarters in order: item key → figure in 0.01 of `GOLD_UNITS`. All but the premium are above 0."""
    quarter = (rng.randint(2020, 2024), rng.randint(1, 4))
    holdings, interest = rng.randint(250_000, 390_000), rng.randint(3_500, 6_000)
    quarters = {}
    for _ in range(6):
        holdings = round(holdings * rng.uniform(0.94, 1.07))
        interest = round(interest * rng.uniform(0.85, 1.15))
        demand = {
            "central_banks": rng.randint(8_000, 42_000),
            "jewellery": rng.randint(35_000, 65_000),
            "bars": rng.randint(20_000, 36_000),
        }
        quarters[quarter] = demand | {
            "etf_holdings": holdings,
            "open_interest": interest,
            "total_demand": sum(demand.values()) + rng.randint(6_000, 9_500),
            "premium": rng.randint(-400, 1_200),
        }
        quarter = (quarter[0] + quarter[1] // 4, quarter[1] % 4 + 1)
    return quarters


def previous_quarter(quarter: Quarter) -> Quarter:
    year, place = quarter
    return (year, place - 1) if place > 1 else (year - 1, 4)


def quarter_name(quarter: Quarter) -> str:
    return f"{quarter[0]}年第{'一二三四'[quarter[1] - 1]}季度"

"""Figures become passages of a report in changing wordings; passages and a question become an example.

A `Statement` is a passage together with the facts that it states, so that no other passage of an example
states what the answer needs and the citations are exactly the passages that do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fintunnel.wire import Passage, ReportRequest

from fintunnel_training.dataset.reports.figures import (
    GOLD_UNITS,
    NAMES,
    Company,
    Quarter,
    number,
    previous_quarter,
    quarter_name,
)

__all__ = ["COMPANY_PASSAGES", "ReportExample", "Statement", "assemble", "company_passage", "gold_passage"]

# What one passage of a company's report speaks of.
COMPANY_PASSAGES: dict[str, tuple[str, ...]] = {
    "income": ("revenue", "cost", "net_profit"),
    "expenses": ("revenue", "selling", "administration"),
    "balance": ("assets", "liabilities"),
    "liquidity": ("current_assets", "current_liabilities"),
    "cash": ("operating_cash",),
    "segments": (),
}
_AT_YEAR_END = ("balance", "liquidity")
# Of all passages, where distractors can be left out: a row then has about 490 tokens of the embedded base model, whose
# vocabulary is English.
_MAX_CHARACTERS = 120

Fact = tuple[str, str, str]  # whose, which period, which item


@dataclass(frozen=True)
class ReportExample:
    """`passages` of the request hold what `citations` (indices) and `answer` are computed from."""

    kind: str
    request: ReportRequest
    citations: list[int]
    answer: str


@dataclass(frozen=True)
class Statement:
    passage: Passage
    facts: frozenset[Fact]


@dataclass(frozen=True)
class _Item:
    name: str
    value: int
    unit: str
    previous: int | None = None


def company_passage(
    rng: random.Random, company: Company, year: int, about: str, *, previous: Sequence[str] = ()
) -> Statement:
    """A passage of the company's report of `year` about a key of `COMPANY_PASSAGES`; items in `previous` state the
    year before beside the year's figure."""
    figures, before = company.years[year], company.years.get(year - 1, {})
    if about == "segments":
        keys = {f"{name}业务收入": value for name, value in company.segments[year].items()}
        items = [_Item(name, value, company.unit) for name, value in keys.items()]
        rng.shuffle(items)
        items.append(_Item("营业收入合计", figures["revenue"], company.unit))
        facts = {(company.name, str(year), key) for key in (*keys, "revenue")}
    else:
        stated = list(COMPANY_PASSAGES[about])
        rng.shuffle(stated)
        items = [
            _Item(rng.choice(NAMES[key]), figures[key], company.unit, before[key] if key in previous else None)
            for key in stated
        ]
        facts = {(company.name, str(year), key) for key in stated}
        facts |= {(company.name, str(year - 1), key) for key in previous}
    openings = (
        ("年末，公司", "期末", f"截至{year}年末，", "资产负债表显示，")
        if about in _AT_YEAR_END
        else ("报告期内，公司", f"{year}年，公司", "本年度", "报表显示，", "全年")
    )
    source = company.name + rng.choice((f"{year}年报", f"{year}年度报告", f"{year}年报摘要"))
    text = _write(rng, items, rng.choice(openings), "上年")
    return Statement(Passage(text=text, source=source, page=rng.randint(3, 160)), frozenset(facts))


def gold_passage(
    rng: random.Random,
    market: dict[Quarter, dict[str, int]],
    quarter: Quarter,
    keys: Sequence[str],
    *,
    previous: Sequence[str] = (),
) -> Statement:
    """A passage of the simulated gold market's quarterly report; items in `previous` state the quarter before too."""
    before = market.get(previous_quarter(quarter), {})
    stated = rng.sample(list(keys), len(keys))
    items = [
        _Item(rng.choice(NAMES[key]), market[quarter][key], GOLD_UNITS[key], before[key] if key in previous else None)
        for key in stated
    ]
    name = quarter_name(quarter)
    facts = {("黄金市场", name, key) for key in stated}
    facts |= {("黄金市场", quarter_name(previous_quarter(quarter)), key) for key in previous}
    source = rng.choice(
        (
            f"模拟黄金市场季报（{name}）",
            f"模拟黄金市场{name}报告",
            f"模拟黄金市场季报·{name}",
            f"模拟{name}黄金市场季报",
        )
    )
    opening = rng.choice(("本季度", "季内", f"{name}，", "统计显示，", "当季"))
    text = _write(rng, items, opening, "上季")
    return Statement(Passage(text=text, source=source, page=rng.randint(1, 24)), frozenset(facts))


def assemble(
    rng: random.Random,
    kind: str,
    question: str,
    answer: str,
    needed: Sequence[Statement],
    others: Iterable[Statement],
) -> ReportExample:
    """An example of 2–4 passages in random order: the `needed` ones, which are cited, and of `others` those that
    state none of the needed facts, as they come. With nothing needed nothing is cited."""
    taken = list(needed)
    facts = frozenset[Fact]().union(*(statement.facts for statement in needed))
    least = max(len(needed) + 1, 2)
    wanted = max(rng.choices((2, 3, 4), (50, 38, 12))[0], least)
    for other in others:
        fits = sum(len(each.passage.text + each.passage.source) for each in [*taken, other]) <= _MAX_CHARACTERS
        if not other.facts & facts and (fits or len(taken) < least):
            taken.append(other)
        if len(taken) == wanted:
            break
    rng.shuffle(taken)
    citations = sorted(taken.index(statement) for statement in needed)
    request = ReportRequest(question=question, passages=[statement.passage for statement in taken])
    return ReportExample(kind, request, citations, answer)


# --- wordings ---------------------------------------------------------------------------------------


def _write(rng: random.Random, items: Sequence[_Item], opening: str, before: str) -> str:
    wordings: list[Callable[[Sequence[_Item], str, str], str]] = [_narrative, _with_wei, _with_colons]
    if len({item.unit for item in items}) == 1:
        wordings += [_table, _columns]
    return rng.choice(wordings)(items, opening, before)


def _narrative(items: Sequence[_Item], opening: str, before: str) -> str:
    parts = []
    for item in items:
        if item.name == "净利润" and item.value < 0:  # reports call it a loss, without a sign
            item = replace(item, name="净亏损", value=-item.value)
        note = f"（{before}{number(item.previous)}{item.unit}）" if item.previous is not None else ""
        parts.append(f"{item.name}{number(item.value)}{item.unit}{note}")
    return f"{opening}{'，'.join(parts)}。"


def _with_wei(items: Sequence[_Item], opening: str, before: str) -> str:
    parts = [
        f"{item.name}为{number(item.value)}{item.unit}"
        + (f"，{before}为{number(item.previous)}{item.unit}" if item.previous is not None else "")
        for item in items
    ]
    return f"{opening}{'；'.join(parts)}。"


def _with_colons(items: Sequence[_Item], opening: str, before: str) -> str:
    parts = [
        f"{item.name}：{number(item.value)}{item.unit}"
        + (f"（{before}：{number(item.previous)}{item.unit}）" if item.previous is not None else "")
        for item in items
    ]
    return f"主要数据（{opening.rstrip('，')}）：{'；'.join(parts)}。" if len(opening) < 4 else "；".join(parts) + "。"


def _table(items: Sequence[_Item], opening: str, before: str) -> str:
    parts = [
        f"{item.name}{number(item.value)}"
        + (f"（{before}{number(item.previous)}）" if item.previous is not None else "")
        for item in items
    ]
    return f"（单位：{items[0].unit}）{opening if len(opening) < 3 else ''}{'；'.join(parts)}。"


def _columns(items: Sequence[_Item], _opening: str, before: str) -> str:
    two = any(item.previous is not None for item in items)
    head = f"项目｜本期｜{before}" if two else "项目｜本期"
    cells = [
        f"{item.name}｜{number(item.value)}"
        + (f"｜{number(item.previous)}" if item.previous is not None else "｜—" if two else "")
        for item in items
    ]
    return f"单位{items[0].unit}，{head}；{'；'.join(cells)}。"

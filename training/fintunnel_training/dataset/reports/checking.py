"""Recomputes a report example from its text alone: the figures are read back out of the passages, the question
says which are meant, and answer and citations must follow. Shares no code with what made the example."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from fintunnel_training.dataset.grounding import figures_not_in
from fintunnel_training.dataset.reports.passages import ReportExample
from fintunnel_training.dataset.reports.reading import (
    COMPANY,
    GOLD,
    ITEMS,
    Passages,
    UnreadableError,
    companies,
    company,
    hundredths,
    item_of,
    period_before,
    quarters,
    units,
    year_of,
)

__all__ = ["check_report"]

_RATIOS = {
    "毛利率": ("revenue", "cost"),
    "净利率": ("net_profit", "revenue"),
    "资产负债率": ("liabilities", "assets"),
    "流动比率": ("current_assets", "current_liabilities"),
    "销售费用率": ("selling", "revenue"),
    "净现比": ("operating_cash", "net_profit"),
}

_HIGHER = re.compile(f"更高的是({COMPANY})|({COMPANY})(?:的毛利率)?更高")


def check_report(example: ReportExample) -> list[str]:
    """What is wrong with a simulated example, in Chinese; empty where everything is right.

    Checked: the result that the answer states against one computed from the passages' text, the citations against
    the passages that this took, each figure of the answer, and how the answer begins and ends.
    """
    problems = []
    answer, passages = example.answer, Passages(example.request.passages)
    given = "\n".join([example.request.question, *(p.source + p.text for p in example.request.passages)])
    try:
        expected = _EXPECTED[example.kind](example, passages)
        problems += [f"回答里没有「{part}」" for part in expected if part not in answer]
    except UnreadableError as error:
        problems.append(str(error))
    if example.citations != sorted(passages.used):
        problems.append(f"引用 {example.citations}，应为 {sorted(passages.used)}")
    cited = "\n".join(example.request.passages[index].text for index in example.citations)
    problems += [f"单位 {unit} 与所引资料不同" for unit in sorted(units(answer) - units(cited))]
    problems += [f"数字 {figure} 没有依据" for figure in figures_not_in(answer, given)]
    if not re.match(r"[一-鿿]", answer) or not answer.endswith("。") or '"' in answer:
        problems.append("回答应以汉字开头、以句号结尾，不含双引号")
    return problems


# --- the expected result, by kind ---------------------------------------------------------------------

_Expected = list[str]  # texts that the answer must hold


def _share(question: str, passages: Passages, part: str, whole: str, unit: str = "%") -> _Expected:
    who, year = company(question), year_of(question)
    value = passages.get(who, year, part) / passages.get(who, year, whole)
    return [hundredths(value * 100) + "%" if unit == "%" else hundredths(value)]


def _ratio_of(part: str, whole: str, unit: str = "%") -> Callable[[ReportExample, Passages], _Expected]:
    return lambda example, passages: _share(example.request.question, passages, part, whole, unit)


def _change(now: Fraction, before: Fraction) -> str:
    return ("增长" if now >= before else "下降") + hundredths(abs(now - before) / before * 100) + "%"


def _growth(example: ReportExample, passages: Passages) -> _Expected:
    who, year = company(example.request.question), year_of(example.request.question)
    return [_change(passages.get(who, year, "revenue"), passages.get(who, period_before(year), "revenue"))]


def _profit_growth(example: ReportExample, passages: Passages) -> _Expected:
    who, year = company(example.request.question), year_of(example.request.question)
    now, before = passages.get(who, year, "net_profit"), passages.get(who, period_before(year), "net_profit")
    if before > 0:
        return [_change(now, before), *(["由盈转亏"] if now < 0 else [])]
    if "%" in example.answer:
        raise UnreadableError("基数为负，不应给出增幅")
    turn = "扭亏为盈" if now > 0 else "收窄" if now > before else "扩大" if now < before else "持平"
    return ["基数为负", "没有意义", turn, hundredths(abs(now)), hundredths(abs(before))]


def _gross_margin(example: ReportExample, passages: Passages) -> _Expected:
    return [_margin(passages, company(example.request.question), year_of(example.request.question))]


def _margin(passages: Passages, who: str, year: str) -> str:
    cost = passages.get(who, year, "cost")
    return hundredths(100 - cost / passages.get(who, year, "revenue") * 100) + "%"


def _expense_ratio(example: ReportExample, passages: Passages) -> _Expected:
    item = "selling" if "销售费用" in example.request.question else "administration"
    return _share(example.request.question, passages, item, "revenue")


def _cash_flow(example: ReportExample, passages: Passages) -> _Expected:
    question = example.request.question
    cash = passages.get(company(question), year_of(question), "operating_cash")
    return ["净流入" if cash >= 0 else "净流出", hundredths(abs(cash))]


def _cash_and_profit(example: ReportExample, passages: Passages) -> _Expected:
    who, year = company(example.request.question), year_of(example.request.question)
    cash, profit = passages.get(who, year, "operating_cash"), passages.get(who, year, "net_profit")
    flow = ("净流入" if cash >= 0 else "净流出") + hundredths(abs(cash))
    return [flow, f"净亏损{hundredths(-profit)}", "没有意义"] if profit < 0 else [flow, hundredths(cash / profit)]


def _comparison(example: ReportExample, passages: Passages) -> _Expected:
    year = year_of(example.request.question)
    revenue = {who: passages.get(who, year, "revenue") for who in companies(example.request.question)}
    gap = max(revenue.values()) - min(revenue.values())
    return [hundredths(gap), *_says_higher(example.answer, max(revenue, key=lambda who: revenue[who]))]


def _margin_comparison(example: ReportExample, passages: Passages) -> _Expected:
    year = year_of(example.request.question)
    margins = {who: _margin(passages, who, year) for who in companies(example.request.question)}
    winner = max(margins, key=lambda who: Fraction(margins[who].rstrip("%")))
    return [*margins.values(), *_says_higher(example.answer, winner)]


def _says_higher(answer: str, winner: str) -> list[str]:
    named = companies(answer)
    if "后者更高" in answer:
        said = named[-1]
    elif match := _HIGHER.search(answer):
        said = match[1] or match[2]
    else:  # "A …, higher than B"
        said = named[0]
    if said != winner:
        raise UnreadableError(f"更高的应是{winner}")
    return [winner]


def _segment_share(example: ReportExample, passages: Passages) -> _Expected:
    question = example.request.question
    who, year = company(question), year_of(question)
    for _, _, item in list(passages.readings):
        if item.endswith("业务收入") and item.removesuffix("业务收入") in question:
            return _share(question, passages, item, "revenue")
    raise UnreadableError(f"资料里没有{who}{year}年的这项业务")


def _gold_growth(example: ReportExample, passages: Passages) -> _Expected:
    question = example.request.question
    quarter, item = quarters(question)[0], item_of(question)
    before = period_before(quarter) if "环比" in question else f"{int(quarter[:4]) - 1}{quarter[4:]}"
    word = "环比" if "环比" in question else "同比"
    return [word + _change(passages.get(GOLD, quarter, item), passages.get(GOLD, before, item))]


def _gold_difference(example: ReportExample, passages: Passages) -> _Expected:
    question = example.request.question
    (quarter, before), item = quarters(question), item_of(question)
    change = passages.get(GOLD, quarter, item) - passages.get(GOLD, before, item)
    up, down = ("升", "降") if item == "premium" else ("增加", "减少")
    return [(up if change >= 0 else down) + hundredths(abs(change))]


def _gold_share(example: ReportExample, passages: Passages) -> _Expected:
    quarter, item = quarters(example.request.question)[0], item_of(example.request.question)
    part, whole = passages.get(GOLD, quarter, item), passages.get(GOLD, quarter, "total_demand")
    return [hundredths(part / whole * 100) + "%"]


def _not_stated(example: ReportExample, passages: Passages) -> _Expected:
    """Nothing that the question asks for stands in a passage: neither by its name nor under whom and when."""
    question, text = example.request.question, "".join(p.text for p in example.request.passages)
    if example.kind == "not_stated":
        if (asked := _absent_matter(question)) in text:
            raise UnreadableError(f"资料写了{asked}")
        return ["资料未提及"]
    who, year = company(question), year_of(question)
    if example.kind == "not_stated_input":
        asked = next((name for name in _RATIOS if name in question), "")
        missing = [item for item in _RATIOS.get(asked, ()) if not passages.states(who, year, item)]
        if asked in text or not any(re.search(ITEMS[item], example.answer) for item in missing):
            raise UnreadableError(f"资料给出了{asked}或计算它所需的数据")
    elif passages.states(who, year, item_of(question)):
        raise UnreadableError(f"资料写了{who}{year}年的这一项")
    return ["资料未提及"]


def _absent_matter(question: str) -> str:
    asked = re.sub(
        r"请问|从年报看，|季报里|\d{4}年(?:第[一二三四]季度)?|披露的|数据|有多少|在|是谁|是多少|？", "", question
    )
    for named in re.findall(COMPANY, asked):
        asked = asked.replace(named, "")
    return asked.removeprefix("的")


_EXPECTED: dict[str, Callable[[ReportExample, Passages], _Expected]] = {
    "growth": _growth,
    "gross_margin": _gross_margin,
    "net_margin": _ratio_of("net_profit", "revenue"),
    "expense_ratio": _expense_ratio,
    "leverage": _ratio_of("liabilities", "assets"),
    "current_ratio": _ratio_of("current_assets", "current_liabilities", "倍"),
    "cash_flow": _cash_flow,
    "cash_and_profit": _cash_and_profit,
    "comparison": _comparison,
    "margin_comparison": _margin_comparison,
    "profit_growth": _profit_growth,
    "segment_share": _segment_share,
    "gold_growth": _gold_growth,
    "gold_difference": _gold_difference,
    "gold_share": _gold_share,
    "not_stated": _not_stated,
    "not_stated_year": _not_stated,
    "not_stated_company": _not_stated,
    "not_stated_input": _not_stated,
}

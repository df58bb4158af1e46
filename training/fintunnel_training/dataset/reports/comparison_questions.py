"""Questions that need two passages: two companies, two years, or profit beside cash."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fintunnel_training.dataset.reports.company_questions import AskedCompany, distractors
from fintunnel_training.dataset.reports.figures import Company, change_word, number, percent, ratio, simulate_company
from fintunnel_training.dataset.reports.passages import ReportExample, assemble, company_passage

__all__ = ["cash_and_profit", "comparison", "margin_comparison", "profit_growth"]


def cash_and_profit(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    cash, profit = asked.figures["operating_cash"], asked.figures["net_profit"]
    flow = f"经营活动现金{change_word(cash, ('净流入', '净流出'))}{asked.money(abs(cash))}"
    questions = (
        "{name}{year}年的经营现金流净额是净利润的多少倍？",
        "{year}年{name}的净利润有经营现金流支撑吗，净现比多少？",
        "请计算{name}{year}年经营现金流净额与净利润之比。",
        "{name}{year}年的净现比是多少？",
    )
    if profit < 0:
        loss = asked.money(-profit)
        answers: Sequence[str] = (
            f"公司净亏损{loss}，净现比没有意义；{flow}。",
            f"净利润为负（净亏损{loss}），净现比没有意义，同期{flow}。",
            f"该年{flow}，但净亏损{loss}，净现比没有意义。",
        )
    else:
        times, earned = ratio(cash, profit), asked.money(profit)
        answers = (
            f"{flow}，净利润{earned}，净现比为{times}。",
            f"净现比为{times}：{flow}，净利润为{earned}。",
            f"净利润为{earned}，{flow}，两者之比{times}。",
        )
    return asked.example("cash_and_profit", questions, answers, ["income", "cash"])


def profit_growth(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    now, before = asked.figures["net_profit"], asked.before["net_profit"]
    questions = (
        "{name}{year}年净利润同比增长多少？",
        "对照两年的年报，{name}{year}年净利润比{last}年变动了百分之几？",
        "请计算{name}{year}年净利润相对{last}年的增幅。",
        "{year}年{name}的净利润同比增速是多少？",
    )
    new, old = (f"{'净亏损' if value < 0 else '净利润'}{asked.money(abs(value))}" for value in (now, before))
    if before < 0:
        turn = "扭亏为盈" if now > 0 else "亏损收窄" if now > before else "亏损扩大" if now < before else "亏损持平"
        answers: Sequence[str] = (
            f"上年{old}，本年{new}，{turn}；基数为负，同比增幅没有意义。",
            f"由{old}到{new}，{turn}，因基数为负，同比增幅没有意义。",
            f"基数为负，同比增幅没有意义：上年{old}，本年{new}，{turn}。",
        )
    else:
        rate = change_word(now - before) + percent(abs(now - before), before)
        turn = "由盈转亏，" if now < 0 else ""
        answers = (
            f"净利润同比{rate}：{turn}上年{old}，本年{new}。",
            f"上年{old}，本年{new}，{turn}同比{rate}。",
            f"由上年的{old}变为本年的{new}，{turn}同比{rate}。",
        )
    last = company_passage(rng, asked.company, asked.year - 1, "income")
    return asked.example("profit_growth", questions, answers, ["income"], [last])


def _two_companies(rng: random.Random) -> tuple[AskedCompany, Company]:
    asked = AskedCompany(rng)
    other = simulate_company(rng, asked.company.name, last_year=asked.year, unit=asked.company.unit)
    return asked, other


def _compare(
    asked: AskedCompany, other: Company, kind: str, questions: Sequence[str], answers: Sequence[str]
) -> ReportExample:
    rng, year = asked.rng, asked.year
    first, second = rng.sample((asked.company.name, other.name), 2)
    question = rng.choice(questions).format(a=first, b=second, year=year)
    needed = [asked.passage("income"), company_passage(rng, other, year, "income")]
    others = distractors(rng, asked.company, year, other.name, about=["income"])
    return assemble(rng, kind, question, rng.choice(answers), needed, others)


def comparison(rng: random.Random) -> ReportExample:
    asked, other = _two_companies(rng)
    while (theirs := other.years[asked.year]["revenue"]) == asked.figures["revenue"]:
        asked, other = _two_companies(rng)
    ranked = sorted([(asked.figures["revenue"], asked.company.name), (theirs, other.name)])
    (low, smaller), (high, larger) = ranked
    more, less, gap = asked.money(high), asked.money(low), asked.money(high - low)
    questions = (
        "{year}年{a}和{b}谁的营业收入更高，高多少？",
        "比较{a}与{b}{year}年的营收，哪家更大，相差多少？",
        "{a}、{b}两家公司{year}年的营业收入相差多少？",
        "{year}年营收更高的是{a}还是{b}，差额是多少？",
    )
    answers = (
        f"{larger}更高：营业收入{more}，{smaller}为{less}，高{gap}。",
        f"营业收入更高的是{larger}（{more}），比{smaller}的{less}高{gap}。",
        f"两家相差{gap}，{larger}为{more}，{smaller}为{less}，{larger}更高。",
        f"{smaller}营业收入{less}，{larger}营业收入{more}，后者更高，高{gap}。",
    )
    return _compare(asked, other, "comparison", questions, answers)


def margin_comparison(rng: random.Random) -> ReportExample:
    asked, other = _two_companies(rng)
    while len(rates := _margins((asked.company, other), asked.year)) < 2:
        asked, other = _two_companies(rng)
    (low, smaller), (high, larger) = sorted(rates.items())
    questions = (
        "{year}年{a}和{b}谁的毛利率更高？",
        "比较{a}与{b}{year}年的毛利率。",
        "{a}、{b}两家公司{year}年哪家毛利率高，各是多少？",
        "就{year}年毛利率而言，{a}与{b}孰高？",
    )
    high_text, low_text = (f"{number(rate)}%" for rate in (high, low))
    answers = (
        f"{larger}的毛利率更高，为{high_text}，{smaller}为{low_text}。",
        f"毛利率更高的是{larger}：{high_text}，而{smaller}为{low_text}。",
        f"按收入与成本计算，{larger}毛利率{high_text}，高于{smaller}的{low_text}。",
        f"{smaller}毛利率为{low_text}，{larger}为{high_text}，后者更高。",
    )
    return _compare(asked, other, "margin_comparison", questions, answers)


def _margins(companies: Sequence[Company], year: int) -> dict[int, str]:
    """Gross margin in 0.01 % → company: one entry where two margins are equal as written."""
    margins = {}
    for company in companies:
        figures = company.years[year]
        written = percent(figures["revenue"] - figures["cost"], figures["revenue"])
        margins[int(written.rstrip("%").replace(".", ""))] = company.name
    return margins

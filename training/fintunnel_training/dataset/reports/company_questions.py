"""Questions about companies' annual reports, each with an answer computed from the simulated figures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fintunnel_training.dataset.reports.figures import (
    NAMES,
    Company,
    change_word,
    number,
    percent,
    ratio,
    simulate_company,
)
from fintunnel_training.dataset.reports.passages import (
    COMPANY_PASSAGES,
    ReportExample,
    Statement,
    assemble,
    company_passage,
)

__all__ = [
    "AskedCompany",
    "cash_flow",
    "current_ratio",
    "distractors",
    "expense_ratio",
    "growth",
    "gross_margin",
    "leverage",
    "net_margin",
    "segment_share",
]


def distractors(
    rng: random.Random, company: Company, year: int, *taken: str, about: Sequence[str] = ()
) -> Iterator[Statement]:
    """Passages that look alike, in random order, each written when it is asked for: the company on other matters, and
    on the same matters (`about`) in another year, or another company, named unlike `taken`."""
    other = simulate_company(rng, company.name, *taken, last_year=company.last_year, unit=company.unit)
    topics = rng.sample(list(COMPANY_PASSAGES), 4)
    passages = [
        *((company, year, topic) for topic in topics[:3]),
        *((company, year - 1, topic) for topic in (*about, topics[0])),
        *((other, year, topic) for topic in (*about, topics[3])),
    ]
    rng.shuffle(passages)
    return (company_passage(rng, *passage) for passage in passages)


class AskedCompany:
    """A company, the year asked about, and how its figures are written."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.company = simulate_company(rng)
        self.year = self.company.last_year
        self.figures = self.company.years[self.year]
        self.before = self.company.years[self.year - 1]

    def money(self, hundredths: int) -> str:
        return f"{number(hundredths)}{self.company.unit}"

    def example(
        self,
        kind: str,
        questions: Sequence[str],
        answers: Sequence[str],
        about: Sequence[str],
        needed: Sequence[Statement] = (),
    ) -> ReportExample:
        """The passages of the year `about` these matters are cited, and those in `needed`."""
        needed = [*(self.passage(topic) for topic in about), *needed]
        question = self.rng.choice(questions).format(name=self.company.name, year=self.year, last=self.year - 1)
        others = distractors(self.rng, self.company, self.year, about=about or ["income"])
        return assemble(self.rng, kind, question, self.rng.choice(answers), needed, others)

    def passage(self, about: str, *previous: str) -> Statement:
        return company_passage(self.rng, self.company, self.year, about, previous=previous)


def growth(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    now, before = asked.figures["revenue"], asked.before["revenue"]
    rate = change_word(now - before) + percent(abs(now - before), before)
    new, old = asked.money(now), asked.money(before)
    questions = (
        "{name}{year}年营业收入同比增长多少？",
        "{year}年{name}的营收比上年变动了百分之几？",
        "和{last}年相比，{name}{year}年的营业收入增幅是多少？",
        "请计算{name}{year}年营收的同比增速。",
        "{name}在{year}年的收入同比是增是减，幅度多大？",
    )
    answers = (
        f"营业收入由{old}变为{new}，同比{rate}。",
        f"同比{rate}：上年营业收入为{old}，本年为{new}。",
        f"该公司营业收入上年为{old}，本年为{new}，{rate}。",
        f"按资料计算，营业收入从{old}到{new}，同比{rate}。",
        f"两年的营业收入分别为{old}和{new}，同比{rate}。",
    )
    return asked.example("growth", questions, answers, [], [asked.passage("income", "revenue")])


def gross_margin(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    revenue, cost = asked.figures["revenue"], asked.figures["cost"]
    whole, spent, profit = asked.money(revenue), asked.money(cost), asked.money(revenue - cost)
    rate = percent(revenue - cost, revenue)
    questions = (
        "{name}{year}年的毛利率是多少？",
        "请根据资料计算{name}{year}年的毛利率。",
        "{year}年{name}的毛利占营业收入多少？",
        "{name}{year}年毛利率有多高？",
        "从营收和成本看，{name}{year}年毛利率为多少？",
    )
    answers = (
        f"毛利为{profit}，营业收入为{whole}，毛利率为{rate}。",
        f"营业收入{whole}减去营业成本{spent}，毛利为{profit}，毛利率{rate}。",
        f"毛利率为{rate}，即毛利{profit}除以营业收入{whole}。",
        f"收入{whole}，成本{spent}，由此得毛利率{rate}。",
    )
    return asked.example("gross_margin", questions, answers, ["income"])


def net_margin(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    revenue, profit = asked.figures["revenue"], asked.figures["net_profit"]
    whole, rate = asked.money(revenue), percent(profit, revenue)
    questions = (
        "{name}{year}年的净利率是多少？",
        "请计算{name}{year}年的销售净利率。",
        "{year}年{name}的营收有百分之几成了净利润？",
        "{name}{year}年净利润占营业收入的比例是多少？",
        "{name}在{year}年的净利率有多高？",
    )
    if profit < 0:
        loss = asked.money(-profit)
        answers: Sequence[str] = (
            f"公司净亏损{loss}，营业收入{whole}，净利率为{rate}。",
            f"净利率为{rate}：营业收入{whole}，却净亏损{loss}。",
            f"该年录得净亏损{loss}，相对营业收入{whole}，净利率{rate}。",
        )
    else:
        answers = (
            f"净利润{asked.money(profit)}，营业收入{whole}，净利率为{rate}。",
            f"净利率为{rate}，即净利润{asked.money(profit)}除以营业收入{whole}。",
            f"以营业收入{whole}、净利润{asked.money(profit)}计算，净利率{rate}。",
            f"该公司净利率{rate}，净利润为{asked.money(profit)}，营业收入为{whole}。",
        )
    return asked.example("net_margin", questions, answers, ["income"])


def expense_ratio(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    key = rng.choice(("selling", "administration"))
    item, revenue = NAMES[key][0], asked.figures["revenue"]
    spent, whole = asked.money(asked.figures[key]), asked.money(revenue)
    rate = percent(asked.figures[key], revenue)
    questions = (
        f"{{name}}{{year}}年的{item}率是多少？",
        f"{{name}}{{year}}年{item}占营业收入的比例是多少？",
        f"请计算{{year}}年{{name}}的{item}率。",
        f"{{year}}年{{name}}的营收里有百分之几花在{item}上？",
    )
    answers = (
        f"{item}{spent}，营业收入{whole}，{item}率为{rate}。",
        f"该项费用率为{rate}，即{item}{spent}除以营业收入{whole}。",
        f"在{whole}的营业收入中，{item}为{spent}，占{rate}。",
        f"占比为{rate}：{item}{spent}，营业收入{whole}。",
    )
    return asked.example("expense_ratio", questions, answers, ["expenses"])


def leverage(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    owed, owned = asked.money(asked.figures["liabilities"]), asked.money(asked.figures["assets"])
    rate = percent(asked.figures["liabilities"], asked.figures["assets"])
    questions = (
        "{name}{year}年末的资产负债率是多少？",
        "{year}年末{name}的杠杆水平如何，资产负债率多少？",
        "请计算{name}{year}年的资产负债率。",
        "{name}{year}年末总负债占总资产的百分之几？",
        "截至{year}年末，{name}的资产负债率有多高？",
    )
    answers = (
        f"总负债{owed}，总资产{owned}，资产负债率为{rate}。",
        f"资产负债率为{rate}，即总负债{owed}除以总资产{owned}。",
        f"年末总资产{owned}，其中负债{owed}，资产负债率{rate}。",
        f"负债占资产的{rate}：总负债为{owed}，总资产为{owned}。",
    )
    return asked.example("leverage", questions, answers, ["balance"])


def current_ratio(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    owned, owed = asked.figures["current_assets"], asked.figures["current_liabilities"]
    times, assets, liabilities = ratio(owned, owed), asked.money(owned), asked.money(owed)
    questions = (
        "{name}{year}年末的流动比率是多少？",
        "请计算{name}{year}年的流动比率。",
        "{year}年末{name}的流动资产是流动负债的多少倍？",
        "{name}{year}年的短期偿债能力如何，流动比率多少？",
    )
    answers = (
        f"流动资产{assets}，流动负债{liabilities}，流动比率为{times}。",
        f"流动比率为{times}，即流动资产{assets}除以流动负债{liabilities}。",
        f"年末流动资产为{assets}，是流动负债{liabilities}的{times}倍。",
        f"以流动资产{assets}和流动负债{liabilities}计算，流动比率{times}。",
    )
    return asked.example("current_ratio", questions, answers, ["liquidity"])


def cash_flow(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    cash = asked.figures["operating_cash"]
    flow, amount = change_word(cash, ("净流入", "净流出")), asked.money(abs(cash))
    questions = (
        "{name}{year}年经营活动现金流净额是多少，是净流入还是净流出？",
        "{year}年{name}的经营活动产生了多少现金？",
        "{name}{year}年经营现金流是正是负，金额多少？",
        "请说明{name}{year}年经营活动现金的净流入或净流出。",
    )
    answers = (
        f"经营活动现金流量净额为{asked.money(cash)}，为{flow}。",
        f"经营活动现金{flow}{amount}。",
        f"该年经营活动表现为{flow}，金额{amount}。",
        f"公司经营现金流为{flow}{amount}，净额{asked.money(cash)}。",
    )
    return asked.example("cash_flow", questions, answers, ["cash"])


def segment_share(rng: random.Random) -> ReportExample:
    asked = AskedCompany(rng)
    segments = asked.company.segments[asked.year]
    segment = rng.choice(list(segments))
    part, whole = asked.money(segments[segment]), asked.money(asked.figures["revenue"])
    rate = percent(segments[segment], asked.figures["revenue"])
    questions = (
        f"{{name}}{{year}}年{segment}业务占营业收入的比例是多少？",
        f"{{year}}年{{name}}有百分之几的收入来自{segment}？",
        f"请计算{{name}}{{year}}年{segment}业务的收入占比。",
        f"{segment}业务在{{name}}{{year}}年营收中占多大份额？",
    )
    answers = (
        f"{segment}业务收入{part}，营业收入合计{whole}，占比{rate}。",
        f"占比为{rate}，即{segment}业务收入{part}除以营业收入{whole}。",
        f"在营业收入{whole}中，{segment}业务贡献{part}，占{rate}。",
        f"该业务收入占{rate}：{segment}为{part}，合计为{whole}。",
    )
    return asked.example("segment_share", questions, answers, ["segments"])

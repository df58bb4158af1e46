"""Questions that the passages do not answer: another matter, year or company, or half of what a ratio needs."""

from __future__ import annotations

import random

from fintunnel_training.dataset.reports.company_questions import distractors
from fintunnel_training.dataset.reports.figures import (
    NAMES,
    company_name,
    quarter_name,
    simulate_company,
    simulate_gold_market,
)
from fintunnel_training.dataset.reports.gold_questions import GOLD_PASSAGES
from fintunnel_training.dataset.reports.passages import (
    COMPANY_PASSAGES,
    ReportExample,
    assemble,
    company_passage,
    gold_passage,
)

__all__ = ["not_stated", "not_stated_company", "not_stated_input", "not_stated_year"]

_ABSENT = ("研发费用", "员工人数", "每股分红", "存货周转天数", "海外收入占比", "商誉", "应收账款", "资本开支", "实控人")
_ABSENT_GOLD = ("白银ETF持仓", "矿产金产量", "再生金供应量", "印度黄金进口量", "沪金成交量", "铂金需求")
_ASKED = ("revenue", "net_profit", "assets", "liabilities", "operating_cash", "cost")
# ratio → what is missing, and what the passages speak of instead
_MISSING_INPUT = (
    ("毛利率", "cost", ("expenses", "balance", "cash")),
    ("净利率", "net_profit", ("expenses", "liquidity", "balance")),
    ("资产负债率", "liabilities", ("income", "liquidity", "cash")),
    ("流动比率", "current_assets", ("balance", "income", "expenses")),
    ("销售费用率", "selling", ("income", "cash", "liquidity")),
    ("净现比", "operating_cash", ("income", "balance", "expenses")),
)


def not_stated(rng: random.Random) -> ReportExample:
    """A matter of which no passage speaks."""
    if rng.random() < 0.3:
        return _not_stated_gold(rng)
    company = simulate_company(rng)
    year, asked = company.last_year, rng.choice(_ABSENT)
    what = "是谁" if asked == "实控人" else "是多少"
    questions = (
        f"{company.name}{year}年的{asked}{what}？",
        f"请问{year}年{company.name}的{asked}{what}？",
        f"{company.name}在{year}年披露的{asked}{what}？",
        f"从年报看，{company.name}{year}年{asked}{what}？",
    )
    answers = (
        f"资料未提及{asked}，无法回答。",
        f"资料未提及{company.name}{year}年的{asked}。",
        f"所给资料未提及{asked}，不能作答。",
        f"关于{asked}，资料未提及。",
        f"无法回答：资料未提及该公司的{asked}。",
    )
    others = distractors(rng, company, year)
    return assemble(rng, "not_stated", rng.choice(questions), rng.choice(answers), [], others)


def _not_stated_gold(rng: random.Random) -> ReportExample:
    market = simulate_gold_market(rng)
    asked, quarter = rng.choice(_ABSENT_GOLD), rng.choice(list(market))
    name = quarter_name(quarter)
    questions = (
        f"{name}{asked}是多少？",
        f"请问{asked}在{name}是多少？",
        f"季报里{name}的{asked}有多少？",
        f"{name}的{asked}数据是多少？",
    )
    answers = (
        f"资料未提及{asked}，无法回答。",
        f"资料未提及{name}的{asked}。",
        f"这几段季报里，资料未提及{asked}。",
        f"关于{asked}，资料未提及，不能作答。",
    )
    others = (gold_passage(rng, market, quarter, keys) for keys in rng.sample(GOLD_PASSAGES, 4))
    return assemble(rng, "not_stated", rng.choice(questions), rng.choice(answers), [], others)


def not_stated_year(rng: random.Random) -> ReportExample:
    """A matter of which the passages speak, in a year of which they do not."""
    company = simulate_company(rng)
    year = company.last_year
    asked_year, item = rng.choice((year + 1, year - 3)), NAMES[rng.choice(_ASKED)][0]
    questions = (
        f"{company.name}{asked_year}年的{item}是多少？",
        f"请问{asked_year}年{company.name}的{item}是多少？",
        f"{company.name}在{asked_year}年的{item}有多少？",
        f"{asked_year}年度{company.name}{item}为多少？",
    )
    answers = (
        f"资料未提及{asked_year}年的{item}，无法回答。",
        f"资料未提及{company.name}{asked_year}年的数据。",
        f"所给的不是{asked_year}年的报告，资料未提及该年{item}。",
        f"无法回答：资料未提及{asked_year}年的情况。",
    )
    topics = rng.sample(list(COMPANY_PASSAGES), 4)
    others = (company_passage(rng, company, rng.choice((year, year - 1)), topic) for topic in topics)
    return assemble(rng, "not_stated_year", rng.choice(questions), rng.choice(answers), [], others)


def not_stated_company(rng: random.Random) -> ReportExample:
    """A matter of which the passages speak, of a company of which they do not."""
    company = simulate_company(rng)
    year, absent = company.last_year, company_name(rng, company.name)
    item = NAMES[rng.choice(_ASKED)][0]
    questions = (
        f"{absent}{year}年的{item}是多少？",
        f"请问{year}年{absent}的{item}是多少？",
        f"{absent}在{year}年的{item}有多少？",
        f"{year}年度{absent}{item}为多少？",
    )
    answers = (
        f"资料未提及{absent}，无法回答。",
        f"资料未提及{absent}的{item}。",
        f"所给资料未提及{absent}这家公司。",
        f"无法回答：这些报告属于其他公司，资料未提及{absent}。",
    )
    others = distractors(rng, company, year, absent)
    return assemble(rng, "not_stated_company", rng.choice(questions), rng.choice(answers), [], others)


def not_stated_input(rng: random.Random) -> ReportExample:
    """A ratio of which the passages state only one half."""
    company = simulate_company(rng)
    year = company.last_year
    asked, missing, topics = rng.choice(_MISSING_INPUT)
    item = NAMES[missing][0]
    questions = (
        f"{company.name}{year}年的{asked}是多少？",
        f"请计算{company.name}{year}年的{asked}。",
        f"{year}年{company.name}的{asked}有多高？",
        f"根据资料，{company.name}{year}年{asked}为多少？",
    )
    answers = (
        f"资料未提及{item}，无法计算{asked}。",
        f"无法计算{asked}：资料未提及{item}。",
        f"计算{asked}需要{item}，资料未提及。",
        f"缺少{item}，资料未提及，{asked}算不出来。",
    )
    others = (company_passage(rng, company, year, topic) for topic in rng.sample(topics, len(topics)))
    return assemble(rng, "not_stated_input", rng.choice(questions), rng.choice(answers), [], others)

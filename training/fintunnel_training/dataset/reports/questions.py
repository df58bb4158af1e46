"""Report questions over simulated figures of companies and of the gold market. Every answer is computed from the
figures that the passages state, and checked against the passages' text; where they do not say, the answer says so."""

from __future__ import annotations

import random
from collections.abc import Callable

from fintunnel_training.dataset.reports import company_questions as company
from fintunnel_training.dataset.reports import comparison_questions as compared
from fintunnel_training.dataset.reports import gold_questions as gold
from fintunnel_training.dataset.reports import unanswerable as unanswerable
from fintunnel_training.dataset.reports.checking import check_report
from fintunnel_training.dataset.reports.passages import ReportExample
from fintunnel_training.errors import DataError

__all__ = ["KINDS", "ReportExample", "make_report"]

# In an order that mixes the matters, as a small dataset holds only the first few.
KINDS: dict[str, Callable[[random.Random], ReportExample]] = {
    "growth": company.growth,
    "gross_margin": company.gross_margin,
    "comparison": compared.comparison,
    "not_stated": unanswerable.not_stated,
    "gold_growth": gold.gold_growth,
    "cash_flow": company.cash_flow,
    "leverage": company.leverage,
    "profit_growth": compared.profit_growth,
    "current_ratio": company.current_ratio,
    "not_stated_input": unanswerable.not_stated_input,
    "gold_share": gold.gold_share,
    "net_margin": company.net_margin,
    "margin_comparison": compared.margin_comparison,
    "not_stated_year": unanswerable.not_stated_year,
    "segment_share": company.segment_share,
    "gold_difference": gold.gold_difference,
    "cash_and_profit": compared.cash_and_profit,
    "expense_ratio": company.expense_ratio,
    "not_stated_company": unanswerable.not_stated_company,
}


def make_report(rng: random.Random, kind: str) -> ReportExample:
    """One question of `kind` (a key of `KINDS`) over freshly simulated figures.

    Raises:
        DataError: the answer is not what the passages' text gives: a mistake of ours, which must not be trained on.
    """
    example = KINDS[kind](rng)
    if problems := check_report(example):
        raise DataError(f"生成的报告问答（{kind}）与资料不符：{'；'.join(problems)}。请向 FinTunnel 报告这个错误。")
    return example

"""What a build is told: how many rows, which mix and balance, which days; and what it counts on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from fintunnel_training.errors import OptionError

_LEAST_NEWS = 0.05
_MOST_EVALUATION_REPORTS = 300  # more only ask the same kinds of question again

__all__ = ["Balance", "BuildOptions", "Funnel", "Mix", "parse_mix"]

Balance = Literal["none", "impact", "direction", "both"]


@dataclass(frozen=True)
class Mix:
    """Shares of news, market and report rows; they add up to 1."""

    news: float = 0.6
    market: float = 0.2
    report: float = 0.2

    def counts(self, total: int | None, events: int) -> tuple[int, int, int]:
        """Rows of each kind: `total` altogether, or, where that is None, a news row for each of `events`."""
        if total is None:
            return events, round(events * self.market / self.news), round(events * self.report / self.news)
        report, market = round(total * self.report), round(total * self.market)
        return total - report - market, market, report

    def report_rows_beside(self, events: int) -> int:
        """Report rows in an evaluation split of `events` news rows, which stand for news and market together."""
        return min(events, _MOST_EVALUATION_REPORTS, round(events * self.report / (1 - self.report)))


def parse_mix(text: str) -> Mix:
    """`60/20/20` → the shares of news, market and report rows.

    Raises:
        OptionError: not three shares, or no news at all.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    total = sum(shares)
    sensible = len(shares) == 3 and all(0 <= share < 1e9 for share in shares) and total > 0
    if not sensible or shares[0] < _LEAST_NEWS * total:
        raise OptionError(
            f"--mix 应是三个比例“新闻/市场分析/财报问答”，新闻至少占 {_LEAST_NEWS:.0%}，例如 60/20/20，"
            f"不是 {text[:40]!r}"
        )
    return Mix(*(share / total for share in shares))


@dataclass(frozen=True)
class BuildOptions:
    """`num_samples`: training rows, None for as many as use every training event once. `balance`: None balances
    impact where a number of rows is given (which leaves the directions within an impact as they are) and nothing where
    everything is taken. `since`, `until`:
    whole days in Beijing time, both included; `test_from`: the day with which the test split begins."""

    num_samples: int | None = 300
    seed: int = 42
    mix: Mix = field(default_factory=Mix)
    balance: Balance | None = None
    since: datetime | None = None
    until: datetime | None = None
    test_from: datetime | None = None

    @property
    def effective_balance(self) -> Balance:
        return self.balance or ("none" if self.num_samples is None else "impact")


@dataclass
class Funnel:
    """Counts at each step from what was read to what was used. `dropped`: events and other records, by reason;
    `reactions`: recorded or computed; `repeated_rows`: rows left out because an event had no other wording left."""

    dropped: Counter[str]
    reactions: Counter[str] = field(default_factory=Counter)
    repeated_rows: int = 0

"""Questions about quarterly reports of the gold market, answered from simulated figures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fintunnel_training.dataset.reports.figures import (
    GOLD_UNITS,
    NAMES,
    Quarter,
    change_word,
    number,
    percent,
    previous_quarter,
    quarter_name,
    simulate_gold_market,
)
from fintunnel_training.dataset.reports.passages import ReportExample, Statement, assemble, gold_passage

__all__ = ["GOLD_PASSAGES", "gold_difference", "gold_distractors", "gold_growth", "gold_share"]

# What one passage of a quarterly report speaks of.
GOLD_PASSAGES: tuple[tuple[str, ...], ...] = (
    ("jewellery", "bars", "total_demand"),
    ("central_banks", "total_demand"),
    ("etf_holdings", "open_interest"),
    ("premium", "jewellery"),
    ("central_banks", "etf_holdings"),
    ("open_interest",),
)

Market = dict[Quarter, dict[str, int]]


def gold_distractors(rng: random.Random, market: Market, quarter: Quarter) -> Iterator[Statement]:
    """Passages of the quarter on other matters and of other quarters, in random order, each written when it is asked
    for."""
    elsewhere = [other for other in market if other != quarter]
    passages = [
        *((quarter, keys) for keys in rng.sample(GOLD_PASSAGES, 3)),
        *((rng.choice(elsewhere), keys) for keys in rng.sample(GOLD_PASSAGES, 4)),
    ]
    rng.shuffle(passages)
    return (gold_passage(rng, market, *passage) for passage in passages)


def gold_growth(rng: random.Random) -> ReportExample:
    """Change in percent: on the quarter before, stated beside it, or on the same quarter of the year before."""
    market = simulate_gold_market(rng)
    quarter = list(market)[-1]
    key = rng.choice(("central_banks", "etf_holdings", "open_interest", "jewellery", "bars"))
    about = _about(rng, key)
    if rng.random() < 0.5:
        base, word = previous_quarter(quarter), "环比"
        needed = [gold_passage(rng, market, quarter, about, previous=(key,))]
    else:
        base, word = (quarter[0] - 1, quarter[1]), "同比"
        needed = [gold_passage(rng, market, quarter, about), gold_passage(rng, market, base, about)]
    now, before = market[quarter][key], market[base][key]
    new, old = _amount(key, now), _amount(key, before)
    rate = word + change_word(now - before) + percent(abs(now - before), before)
    name, item = quarter_name(quarter), rng.choice(NAMES[key])
    questions = (
        f"{name}{item}{word}变动多少？",
        f"{name}，{item}{word}增长了百分之几？",
        f"请计算{item}在{name}的{word}增幅。",
        f"{item}在{name}{word}是增是减，幅度多大？",
    )
    answers = (
        f"{NAMES[key][0]}由{old}变为{new}，{rate}。",
        f"{NAMES[key][0]}{rate}，从{old}到{new}。",
        f"本期为{new}，对比期为{old}，{rate}。",
        f"按季报数据，{NAMES[key][0]}{rate}：前为{old}，后为{new}。",
    )
    return _example(rng, "gold_growth", market, quarter, questions, answers, needed)


def gold_difference(rng: random.Random) -> ReportExample:
    """Difference between two quarters, each in its own report."""
    market = simulate_gold_market(rng)
    quarter = list(market)[-1]
    base = rng.choice((previous_quarter(quarter), (quarter[0] - 1, quarter[1])))
    key = rng.choice(("etf_holdings", "open_interest", "premium", "central_banks"))
    now, before = market[quarter][key], market[base][key]
    new, old, gap = _amount(key, now), _amount(key, before), _amount(key, abs(now - before))
    word = change_word(now - before, ("增加", "减少")) if key != "premium" else change_word(now - before, ("升", "降"))
    about = _about(rng, key)
    needed = [gold_passage(rng, market, quarter, about), gold_passage(rng, market, base, about)]
    name, last, item = quarter_name(quarter), quarter_name(base), rng.choice(NAMES[key])
    questions = (
        f"{name}{item}比{last}变化了多少？",
        f"对比{last}，{name}的{item}增减多少？",
        f"从{last}到{name}，{item}变动了多少{GOLD_UNITS[key]}？",
        f"请计算{name}与{last}的{item}之差。",
    )
    answers = (
        f"{NAMES[key][0]}由{old}变为{new}，{word}{gap}。",
        f"前后相比{word}{gap}：先为{old}，后为{new}。",
        f"先前为{old}，其后为{new}，{NAMES[key][0]}{word}{gap}。",
        f"两季分别为{old}和{new}，{word}{gap}。",
    )
    return _example(rng, "gold_difference", market, quarter, questions, answers, needed)


def gold_share(rng: random.Random) -> ReportExample:
    """One kind of demand as a share of all."""
    market = simulate_gold_market(rng)
    quarter = rng.choice(list(market))
    key = rng.choice(("jewellery", "bars", "central_banks"))
    part, whole = market[quarter][key], market[quarter]["total_demand"]
    about = next(keys for keys in GOLD_PASSAGES if key in keys and "total_demand" in keys)
    rate, some, total = percent(part, whole), _amount(key, part), _amount("total_demand", whole)
    name, item = quarter_name(quarter), rng.choice(NAMES[key])
    questions = (
        f"{name}{item}占黄金总需求的比例是多少？",
        f"黄金总需求里，{name}的{item}占百分之几？",
        f"请计算{name}{item}在黄金总需求中的份额。",
        f"{item}在{name}黄金总需求里占多大比重？",
    )
    answers = (
        f"{NAMES[key][0]}{some}，黄金总需求{total}，占比{rate}。",
        f"占比为{rate}，即{some}的{NAMES[key][0]}除以总需求{total}。",
        f"在{total}的黄金总需求中，{NAMES[key][0]}为{some}，占{rate}。",
        f"总需求为{total}，其中{NAMES[key][0]}{some}，份额{rate}。",
    )
    return _example(rng, "gold_share", market, quarter, questions, answers, [gold_passage(rng, market, quarter, about)])


def _about(rng: random.Random, key: str) -> tuple[str, ...]:
    return rng.choice([keys for keys in GOLD_PASSAGES if key in keys])


def _amount(key: str, hundredths: int) -> str:
    return f"{number(hundredths)}{GOLD_UNITS[key]}"


def _example(
    rng: random.Random,
    kind: str,
    market: Market,
    quarter: Quarter,
    questions: Sequence[str],
    answers: Sequence[str],
    needed: Sequence[Statement],
) -> ReportExample:
    others = gold_distractors(rng, market, quarter)
    return assemble(rng, kind, rng.choice(questions), rng.choice(answers), needed, others)

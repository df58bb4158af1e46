"""The arithmetic of `bench.cost`, by hand."""

from __future__ import annotations

import pytest

from bench.cost import Machine, Tokens, counted, hosted_per_1000, machine_per_1000, table, tokens_of

TOKENS = Tokens(instruction=100, request=50, answer=60, rationale=40)


def test_chinese_counts_twice_as_much_as_other_characters() -> None:
    assert tokens_of("金价up 1%") == pytest.approx(2 * 0.6 + 5 * 0.3)


def test_a_thousand_hosted_analyses_cost_their_tokens() -> None:
    # 150,000 tokens at $0.14 and 60,000 at $0.28 a million.
    assert hosted_per_1000(TOKENS, instruction_cached=False) == pytest.approx(0.021 + 0.0168)
    assert hosted_per_1000(TOKENS, instruction_cached=True) == pytest.approx(0.00028 + 0.007 + 0.0168)


def test_a_machine_costs_its_hours_and_breaks_even_where_it_says() -> None:
    assert machine_per_1000(0.36, 1.0) == pytest.approx(0.1)
    (row,) = [line for line in table(TOKENS, [("mine", 0.36, 2.0)]) if line.startswith("| mine ")]
    _, _, price, rate, cost, even, _ = row.split("|")
    assert (price.strip(), rate.strip(), cost.strip()) == ("0.36", "2.00", "0.0500")
    hosted = hosted_per_1000(TOKENS, instruction_cached=False)
    assert machine_per_1000(0.36, float(even.strip().removesuffix("/s"))) == pytest.approx(hosted, rel=0.01)


def test_the_bound_is_the_tighter_of_arithmetic_and_memory() -> None:
    of_memory = Machine("", 1.0, flops=1e18, bandwidth=1e12, weights=1e10)
    assert of_memory.most_per_second(50, 40) == pytest.approx(16 * 100 / 40)
    of_arithmetic = Machine("", 1.0, flops=13.8e12, bandwidth=1e18, weights=1e10)
    assert of_arithmetic.most_per_second(60, 40) == pytest.approx(10.0)


def test_only_rows_that_are_asked_as_analyze_asks_news_are_counted() -> None:
    asked = {
        "instruction": "判断",
        "input": "消息",
        "output": '{"rationale":"理由"}',
        "meta": {"style": "json", "request": {"task": "news"}},
    }
    prose = asked | {"output": "一段话", "meta": {"style": "news_prose", "request": {"task": "news"}}}
    report = asked | {"meta": {"style": "json", "request": {"task": "report"}}}
    assert counted([asked, prose, report]).rationale == pytest.approx(1.2)

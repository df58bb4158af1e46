from __future__ import annotations

import random
import re

import pytest
from fintunnel_training.dataset.reports import KINDS, ReportExample, make_report


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def examples(kind: str) -> list[ReportExample]:
    return [make_report(random.Random(seed), kind) for seed in range(50)]


def cited(example: ReportExample) -> str:
    return "".join(example.request.passages[index].text for index in example.citations)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"not_stated"}))
def test_answers_use_only_cited_figures_and_what_follows_from_them(kind: str) -> None:
    for example in examples(kind):
        given = set(numbers(cited(example)))
        for value in numbers(example.answer):
            derived = any(
                abs(value - candidate) < 0.006
                for a in given
                for b in given
                for candidate in (a, a - b, *((a / b * 100, (a - b) / b * 100, (b - a) / b * 100) if b else ()))
            )
            derived = derived or any(abs(value - (a - b) / a * 100) < 0.006 for a in given for b in given if a)
            assert derived, (kind, value, example)


def test_growth_is_recomputed_from_the_passage() -> None:
    for example in examples("growth"):
        revenue, previous = numbers(cited(example))[:2]
        expected = (revenue - previous) / previous * 100
        stated = numbers(example.answer)[-1] * (1 if "增长" in example.answer else -1)
        assert stated == pytest.approx(expected, abs=0.006)


def test_what_the_passages_do_not_say_is_not_cited() -> None:
    for example in examples("not_stated"):
        assert example.citations == [] and "未提及" in example.answer
        asked = re.search(r"年的(.+?)是多少", example.request.question)
        assert asked and not any(asked[1] in passage.text for passage in example.request.passages)


def test_comparison_names_the_larger_of_two_firms() -> None:
    for example in examples("comparison"):
        revenue = [numbers(passage.text)[0] for passage in example.request.passages]
        larger = example.request.passages[revenue.index(max(revenue))].source
        assert larger.startswith(example.answer.split("更高")[0])

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from itertools import cycle, islice

import pytest
from fintunnel.wire import ReportRequest
from fintunnel_training.dataset.grounding import figures_not_in
from fintunnel_training.dataset.reports.checking import check_report
from fintunnel_training.dataset.reports.questions import KINDS, ReportExample, make_report
from fintunnel_training.errors import DataError

SEEDS = range(200)
ANSWERED = sorted(kind for kind in KINDS if not kind.startswith("not_stated"))
UNANSWERED = sorted(set(KINDS) - set(ANSWERED))


def examples(kind: str) -> list[ReportExample]:
    return [KINDS[kind](random.Random(seed)) for seed in SEEDS]


def given(example: ReportExample) -> str:
    return example.request.question + "".join(p.source + p.text for p in example.request.passages)


def without_figures_and_names(text: str) -> str:
    return re.sub(
        r"-?\d+(\.\d+)?|第.季度|亿元|百万元|万元|[一-鿿]{2}(?:矿业|珠宝|精密|能源|电子|医药|物流|食品|化工|建材)",
        "#",
        text,
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_answers_and_citations_follow_from_the_text_of_the_passages(kind: str) -> None:
    for example in examples(kind):
        assert check_report(example) == [], example


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_figure_of_an_answer_is_stated_or_one_step_of_arithmetic_away(kind: str) -> None:
    for example in examples(kind):
        assert figures_not_in(example.answer, given(example)) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_passages_are_few_short_and_differ_from_the_cited_ones(kind: str) -> None:
    found = examples(kind)
    for example in found:
        assert 2 <= len(example.request.passages) <= 4
        assert len(example.citations) < len(example.request.passages), "a distractor stands beside the cited ones"
        assert len(example.answer) <= 120 and re.match(r"[一-鿿]", example.answer)
    assert sum(len(given(example)) for example in found) / len(found) < 230


@pytest.mark.parametrize("kind", ANSWERED)
def test_a_figure_altered_in_the_cited_passage_is_noticed(kind: str) -> None:
    noticed = 0
    for example in examples(kind)[:60]:
        passages = [
            p.model_copy(
                update={"text": re.sub(r"(?<![\d.])\d(?=\d*\.\d\d)", lambda m: str((int(m[0]) + 3) % 9 + 1), p.text)}
            )
            if index in example.citations
            else p
            for index, p in enumerate(example.request.passages)
        ]
        altered = ReportRequest(question=example.request.question, passages=passages)
        noticed += bool(check_report(replace(example, request=altered)))
    assert noticed == 60


@pytest.mark.parametrize("kind", ANSWERED)
def test_a_wrong_citation_is_noticed(kind: str) -> None:
    for example in examples(kind)[:20]:
        other = next(i for i in range(len(example.request.passages)) if i not in example.citations)
        assert check_report(replace(example, citations=[other]))
        assert check_report(replace(example, citations=[]))


def test_an_amount_in_another_unit_than_the_passage_is_noticed() -> None:
    units = {"亿元": "万元", "万元": "百万元", "百万元": "亿元"}
    for example in examples("cash_flow"):
        answer = re.sub(r"(?<=\d)(百万元|万元|亿元)", lambda found: units[found[1]], example.answer)
        assert check_report(replace(example, answer=answer))


def test_distractors_often_state_the_same_item_of_another_year_or_company() -> None:
    alike = [
        any(
            "总资产" in p.text or "资产总额" in p.text for i, p in enumerate(e.request.passages) if i not in e.citations
        )
        for e in examples("leverage")
    ]
    assert sum(alike) > 50


@pytest.mark.parametrize("kind", UNANSWERED)
def test_what_the_passages_do_not_say_is_not_cited(kind: str) -> None:
    for example in examples(kind):
        assert example.citations == [] and "资料未提及" in example.answer
        assert not re.search(r"\d+\.\d+", example.answer)


def test_the_matter_that_is_absent_is_named_in_the_answer_and_in_no_passage() -> None:
    for example in examples("not_stated"):
        named = re.search("|".join(ABSENT), example.request.question)
        assert named and named[0] in example.answer
        assert not any(named[0] in passage.text for passage in example.request.passages)


ABSENT = ("研发费用", "员工人数", "每股分红", "存货周转天数", "海外收入占比", "商誉", "应收账款", "资本开支", "实控人",
          "白银ETF持仓", "矿产金产量", "再生金供应量", "印度黄金进口量", "沪金成交量", "铂金需求")  # fmt: skip


def test_an_unanswerable_question_whose_figure_is_stated_after_all_is_noticed() -> None:
    for example in examples("not_stated_year")[:40]:
        passage = example.request.passages[0]
        company = passage.source[:4]
        year = re.findall(r"\d{4}(?=年)", example.request.question)[0]
        item = re.search("营业收入|净利润|总资产|总负债|经营活动现金流量净额|营业成本", example.request.question)
        assert item
        stated = passage.model_copy(update={"text": f"{item[0]}为12.30亿元。", "source": f"{company}{year}年报"})
        request = ReportRequest(question=example.request.question, passages=[stated])
        assert check_report(replace(example, request=request))


def test_losses_are_called_losses_and_growth_on_them_is_not_computed() -> None:
    turns = Counter[str]()
    for example in examples("profit_growth"):
        if "基数为负" in example.answer:
            assert "%" not in example.answer and "没有意义" in example.answer
            turns["from a loss"] += 1
        elif "由盈转亏" in example.answer:
            assert "下降" in example.answer
            turns["into a loss"] += 1
    assert turns["from a loss"] >= 10 and turns["into a loss"] >= 10


def test_cash_per_profit_of_a_firm_with_a_loss_is_called_meaningless() -> None:
    losses = [example for example in examples("cash_and_profit") if "净亏损" in example.answer]
    assert losses and all("净现比没有意义" in example.answer for example in losses)


def test_comparison_names_the_larger_of_two_firms_whichever_is_asked_first() -> None:
    places = Counter[bool]()
    for example in examples("comparison"):
        revenue = {
            example.request.passages[i].source[:4]: float(found[1])
            for i in example.citations
            if (found := re.search(r"(?:营业收入|营收)(?:为|：|｜)?(\d+\.\d\d)", example.request.passages[i].text))
        }
        assert len(revenue) == 2
        larger, smaller = sorted(revenue, key=lambda name: -revenue[name])
        assert f"{revenue[larger] - revenue[smaller]:.2f}" in example.answer
        places[example.request.question.index(larger) < example.request.question.index(smaller)] += 1
    assert min(places[True], places[False]) > 50


def test_cited_passages_stand_in_every_place() -> None:
    assert {example.citations[0] for example in examples("growth")} >= {0, 1}
    three = [example for kind in KINDS for example in examples(kind) if len(example.request.passages) > 2]
    assert {place for example in three for place in example.citations} >= {0, 1, 2}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_questions_and_answers_come_in_several_wordings(kind: str) -> None:
    found = examples(kind)
    items = "营业收入|营收|净利润|总资产|总负债|经营活动现金流量净额|营业成本|" + "|".join(ABSENT)
    for texts, least in (([e.request.question for e in found], 4), ([e.answer for e in found], 3)):
        wordings = {re.sub(items, "@", without_figures_and_names(text)) for text in texts}
        assert len(wordings) >= least, wordings


def test_among_sixty_rows_few_answers_share_a_wording() -> None:
    for seed in range(5):
        rng = random.Random(seed)
        answers = [make_report(rng, kind).answer for kind in islice(cycle(KINDS), 60)]
        (_, most), *_ = Counter(map(without_figures_and_names, answers)).most_common(1)
        assert most <= 6


def test_the_same_seed_makes_the_same_example() -> None:
    for kind in KINDS:
        assert make_report(random.Random(7), kind) == make_report(random.Random(7), kind)


def test_an_example_that_fails_its_check_is_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(make_report(random.Random(1), "leverage"), answer="资产负债率为1.23%。")
    monkeypatch.setitem(KINDS, "leverage", lambda _rng: wrong)
    with pytest.raises(DataError, match="与资料不符"):
        make_report(random.Random(1), "leverage")

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fintunnel.wire import NewsRequest, ReportRequest
from fintunnel_training.comparison.cases import Case, cases_of, cases_path, draw, read_cases, training_path
from fintunnel_training.errors import DataError

from tests.training.comparison_rows import news, report, write, write_splits


def test_the_test_split_beside_a_training_file_is_found_and_back(tmp_path: Path) -> None:
    training = write_splits(tmp_path)
    beside = tmp_path / "i.test.jsonl"
    assert cases_path(training) == cases_path(beside) == beside
    assert training_path(training) == training_path(beside) == training
    own = write(tmp_path / "mine.jsonl", [{"text": "金价走高"}])
    assert cases_path(own) == own and training_path(own) is None


def test_rows_of_a_dataset_become_cases(tmp_path: Path) -> None:
    path = write(tmp_path / "x.test.jsonl", [news(4), report(1), report(3)])
    first, second, third = read_cases(path).cases
    assert isinstance(first.request, NewsRequest) and first.request.context is not None
    assert (first.impact, first.direction, first.horizon_min) == ("medium", "neutral", 15)
    assert first.at is not None and first.beijing_day is not None
    assert isinstance(second.request, ReportRequest)
    assert second.citations == (0,) and second.answer == "同比增长101%：上年100亿元，本年201亿元。"
    assert third.citations == () and third.answer == "资料未提及。"


def test_cases_of_ones_own_may_lack_everything_but_the_request(tmp_path: Path) -> None:
    passages = [{"text": "营收3亿元", "source": "年报"}]
    rows: list[dict[str, Any]] = [
        {"text": "美联储宣布加息25个基点"},
        {"text": "非农大增", "published_at": "2025-10-03T20:30:00", "impact": "high", "direction": "bearish"},
        {"question": "营收多少？", "passages": passages, "answer": "3亿元", "citations": [0]},
    ]
    path = write(tmp_path / "mine.jsonl", rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as Notepad saves it
    bare, labelled, asked = read_cases(path).cases
    assert (bare.impact, bare.at, labelled.direction, asked.citations) == (None, None, "bearish", (0,))
    assert labelled.at is not None and labelled.at.utcoffset() is not None  # Beijing time, where no zone is given


def test_a_question_that_is_asked_twice_counts_once(tmp_path: Path) -> None:
    file = read_cases(write(tmp_path / "x.test.jsonl", [news(1), news(2), news(1)]))
    assert len(file.cases) == 2 and file.repeated == 1


def test_the_key_is_the_questions_alone() -> None:
    request = NewsRequest(text="金价走高", explain=True)
    other = request.model_copy(update={"explain": False, "adapter": "base", "max_tokens": 20})
    assert Case(request, impact="high").key == Case(other).key != Case(NewsRequest(text="金价走低")).key


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": ""}, "第 2 行无效：text"),
        ({"text": "金价", "impact": "huge"}, "第 2 行无效：impact"),
        ({"text": "金价", "colour": "red"}, "第 2 行无效：colour"),
        ({"headline": "金价"}, "第 2 行既没有 text，也没有 question"),
        ({"question": "？", "passages": []}, "第 2 行无效：passages"),
        ({"instruction": "a", "input": "b", "output": "c"}, "第 2 行没有 meta.request"),
        (news(1, "train"), "第 2 行属于训练集"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_cases(write(tmp_path / "x.jsonl", [{"text": "金价走高"}, row]))


def test_files_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="没有任何一行数据"):
        read_cases(write(tmp_path / "x.jsonl", []))
    with pytest.raises(DataError, match="无法读取"):
        read_cases(tmp_path / "none.jsonl")
    (tmp_path / "gbk.jsonl").write_bytes('{"text": "金价"}'.encode("gbk"))
    with pytest.raises(DataError, match="UTF-8"):
        read_cases(tmp_path / "gbk.jsonl")


def test_headlines_are_cases() -> None:
    file = cases_of(["美联储宣布加息25个基点", "非农不及预期", "非农不及预期"])
    assert [case.request.text for case in file.cases if isinstance(case.request, NewsRequest)] == [
        "美联储宣布加息25个基点",
        "非农不及预期",
    ]
    with pytest.raises(DataError, match="--cases 的第 2 条无效"):
        cases_of(["金价", " "])


def test_what_is_drawn_depends_on_the_seed_and_the_case_alone() -> None:
    cases = [Case(NewsRequest(text=f"第{n}条")) for n in range(200)]
    drawn = draw(cases, 20, 0)
    assert drawn == draw(cases, 20, 0) != draw(cases, 20, 1)
    assert [case for case in cases if case in drawn] == drawn  # in their order
    fewer = {case.key for case in draw(cases[:100], 20, 0)}
    assert {case.key for case in drawn if case in cases[:100]} <= fewer

"""Questions about the user's own reports: what is asked, and how it is split."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.dataset.grounding import figures_not_in
from fintunnel_training.dataset.reports.file_questions import find_asks
from fintunnel_training.dataset.reports.files import ReportLibrary, read_reports
from fintunnel_training.dataset.reports.rows import file_row_counts, library_summary, report_rows, split_library
from fintunnel_training.dataset.rows import Row

from tests.dataset.test_report_files import OUTLOOK, REPORT, pdf

SPLITS = ("train", "val", "test")
TABLE = (
    "项目          2023年     2022年     增减\n营业收入      56.32      48.10      17.09\n"
    "营业成本      40.21      35.66      12.76\n净利润         6.05      -1.20      不适用\n"
)
RUN_ON = [
    "公司实现营业收入33.20亿元，同比增长10.67%",
    "上年同期营业收入30.00亿元",
    "营业成本21.58亿元，净利润4.15亿元资产总额88.00亿元，负债总额35.20亿元",
]


def from_files(library: ReportLibrary, split: str = "train", count: int = 400) -> list[dict[str, Any]]:
    """Question kind, question, passages, citations and answer of each row about files."""
    rows = [row for row in report_rows(count, split, 5, library) if row["meta"]["origin"] == "files"]
    return [
        {"kind": row["meta"]["question_kind"], **row["meta"]["request"], **json.loads(row["output"])} for row in rows
    ]


@pytest.fixture
def library(tmp_path: Path) -> ReportLibrary:
    for index in range(12):
        text = (
            f"报告期内，公司实现营业收入{index + 13}.50亿元，营业成本{index + 9}.25亿元，净利润为{index}.40亿元。"
            f"年末，总资产9{index}.00亿元，总负债4{index}.10亿元。经营活动产生的现金流量净额为{index + 1}.15亿元。"
        )
        (tmp_path / f"样本{index}公司2023年报.txt").write_text(OUTLOOK + text if index % 2 else text, encoding="utf-8")
    (tmp_path / "展望.md").write_text(OUTLOOK, encoding="utf-8")
    return read_reports(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> ReportLibrary:
    """A small annual report as prose, a table, a run-on PDF, a text without figures and a broken PDF."""
    folder = tmp_path / "财报"
    folder.mkdir()
    (folder / "甲公司2024年报.txt").write_text(REPORT + OUTLOOK, encoding="utf-8")
    (folder / "乙公司2023年报.txt").write_text(TABLE, encoding="utf-8")
    pdf(folder / "丙公司2024三季报.pdf", RUN_ON)
    (folder / "说明.txt").write_text(OUTLOOK, encoding="utf-8")
    (folder / "坏.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    return read_reports(folder)


# --- questions ----------------------------------------------------------------------------------------


def test_answers_about_files_cite_the_one_passage_that_states_their_figures(library: ReportLibrary) -> None:
    found = from_files(library)
    for row in found:
        passages = [p["text"] for p in row["passages"]]
        answer = row["answer"]
        assert 2 <= len(passages) <= 3 and sum(map(len, passages)) <= 400
        assert figures_not_in(answer, row["question"] + "".join(passages)) == []
        assert re.match(r"[一-鿿]", answer) and answer.endswith("。") and '"' not in answer
        for index, passage in enumerate(row["passages"]):
            whole = [p.text for p in library.passages if p.source == passage["source"]]
            assert any(passage["text"].rstrip("…") in text for text in whole)
            if row["citations"] == [index]:
                assert f"《{passage['source']}》" in row["question"]
                assert all(figure in passage["text"] for figure in re.findall(r"-?[\d,.]+亿元", answer))
    assert {row["kind"] for row in found} == {"file_look_up", "file_ratio", "file_not_stated"}
    assert len({tuple(row["citations"]) for row in found if row["citations"]}) == 3  # in random order


def test_looked_up_figures_are_the_ones_that_the_report_gives_by_that_name(library: ReportLibrary) -> None:
    for row in from_files(library):
        if row["kind"] == "file_look_up":
            cited = row["passages"][row["citations"][0]]
            name = re.search("营业收入|营业成本|净利润|总资产|总负债|现金流量净额", row["question"])
            assert name and (value := re.search(rf"{name[0]}为?([\d.]+亿元)", cited["text"]))
            assert value[1] in row["answer"]
            same = [p["text"] for p in row["passages"] if p["source"] == cited["source"] and p is not cited]
            assert not any(name[0] in text for text in same)


def test_ratios_are_recomputed_from_the_cited_passage(library: ReportLibrary) -> None:
    terms = {
        "资产负债率": ("总负债", "总资产"), "净利率": ("净利润", "营业收入"),
        "毛利率": ("营业成本", "营业收入"), "净现比": ("现金流量净额", "净利润"),
    }  # fmt: skip
    computed = set()
    for row in from_files(library):
        if row["kind"] == "file_ratio":
            text = row["passages"][row["citations"][0]]["text"]
            ratio = next(name for name in terms if name in row["answer"])
            part, whole = (float(re.findall(rf"{term}为?([\d.]+)亿元", text)[0]) for term in terms[ratio])
            share = 100 * part / whole
            expected = {"毛利率": 100 - share, "净现比": part / whole}.get(ratio, share)
            result = re.search(rf"{ratio}为(-?[\d.]+)(?:%|倍)", row["answer"])
            assert result and float(result[1]) == pytest.approx(expected, abs=0.0051)
            computed.add(ratio)
    assert computed == set(terms)


def test_growth_between_two_years_is_computed_and_both_years_are_named(tmp_path: Path) -> None:
    text = "2023年营业收入为60.00亿元，净利润为-2.00亿元。2022年营业收入为48.00亿元，净利润为-1.00亿元。"
    (tmp_path / "甲公司年报.txt").write_text(text, encoding="utf-8")
    rows = from_files(read_reports(tmp_path))
    (growth,) = [row for row in rows if row["kind"] == "file_growth"]  # none from a negative base
    assert "2023年" in growth["question"] and "2022年" in growth["question"] and "增长25.00%" in growth["answer"]
    look_ups = [row for row in rows if row["kind"] == "file_look_up"]
    assert len(look_ups) == 4
    for row in look_ups:
        year, value = re.search(r"202[23]年", row["question"]), re.search(r"-?[\d.]+亿元", row["answer"])
        assert year and value and value[0] in text.split("。")[0 if year[0] == "2023年" else 1]


def test_a_change_that_the_text_states_is_looked_up(tmp_path: Path) -> None:
    (tmp_path / "甲公司2024年报.txt").write_text(REPORT, encoding="utf-8")
    (row,) = [row for row in from_files(read_reports(tmp_path)) if row["kind"] == "file_change"]
    assert "营业收入" in row["question"] and "增长8.50%" in row["answer"]


def test_the_run_on_pdf_gives_look_ups_and_ratios(small: ReportLibrary) -> None:
    text = next(p.text for p in small.passages if p.source == "丙公司2024三季报")
    asks = {(ask.kind, ask.item) for ask in find_asks(text, "丙公司2024三季报")}
    assert {("file_look_up", item) for item in ("营业成本", "净利润", "总资产", "总负债")} <= asks
    assert ("file_ratio", "资产负债率") in asks


def test_what_a_file_says_or_lets_compute_is_never_called_not_stated(
    library: ReportLibrary, small: ReportLibrary
) -> None:
    words = {"研发费用": "研发", "员工人数": "员工", "每股分红": "分红", "存货周转天数": "存货", "海外收入占比": "海外",
             "商誉": "商誉", "应收账款": "应收", "资本开支": "资本开支", "每股收益": "每股",
             "净资产收益率": "净资产", "经营活动现金流量净额": "现金流", "毛利率": "毛利", "净利率": "净利率",
             "资产负债率": "负债"}  # fmt: skip
    inputs = {"毛利率": ("营业收入", "营业成本"), "净利率": ("营业收入", "净利润")}
    seen = 0
    for each in (library, small):
        for row in from_files(each):
            if row["kind"] != "file_not_stated":
                continue
            seen += 1
            item = next(item for item in words if item in row["answer"])
            assert row["citations"] == [] and "资料未提及" in row["answer"] and item in row["question"]
            assert any(f"《{passage['source']}》" in row["question"] for passage in row["passages"])
            for source in {passage["source"] for passage in row["passages"]}:
                file = "".join(p.text for p in each.passages if p.source == source)
                assert words[item] not in file
                assert item not in inputs or not all(word in file for word in inputs[item])
    assert seen > 5


def test_bare_table_columns_stay_unused_and_no_excerpt_ends_inside_a_number(tmp_path: Path) -> None:
    rows = "".join(f"营业收入 {index}56.32 48.10 17.09\n营业成本 {index}40.21 35.66 12.76\n" for index in range(10))
    (tmp_path / "乙公司2023年报.txt").write_text(rows, encoding="utf-8")
    (tmp_path / "甲公司2024年报.txt").write_text(REPORT, encoding="utf-8")
    found = from_files(read_reports(tmp_path))
    excerpts = [p["text"] for row in found for p in row["passages"] if p["source"] == "乙公司2023年报"]
    assert excerpts and not any("乙公司" in row["question"] for row in found if row["citations"])
    assert all(re.fullmatch(r"(?:营业(?:收入|成本)(?: \d+\.\d\d){3}\s?)+…?", text) for text in excerpts)


def test_each_item_of_a_passage_is_asked_once(library: ReportLibrary) -> None:
    found = from_files(library, count=5000)
    asked = Counter(
        (row["kind"], re.sub(r"《.*》|里的|披露的|是多少|为多少|根据|请|计算|在|中|，|？|。", "", row["question"]),
         re.findall("《.*》", row["question"])[0])
        for row in found
    )  # fmt: skip
    assert set(asked.values()) == {1}
    assert len(found) < 12 * 12 * 1.25  # what twelve small reports offer, whatever is asked for


def test_questions_read_fluently(library: ReportLibrary) -> None:
    for row in from_files(library):
        assert re.fullmatch(r"(?:请?根据|在)?《[^《》]+》.*[？。]", row["question"])
        assert not re.search("里，披露|里，报告|请查出|的数值", row["question"])


# --- splits -------------------------------------------------------------------------------------------


def test_passages_with_figures_are_dealt_to_the_splits_in_proportion(library: ReportLibrary) -> None:
    parts = split_library(library)
    dealt = [index for split in SPLITS for index in parts[split].passages]
    assert sorted(dealt) == list(range(len(library.passages)))
    answerable = Counter(
        split for split in SPLITS for index in parts[split].passages if find_asks(library.passages[index].text)
    )
    assert answerable == {"train": 8, "val": 2, "test": 2}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not parts[one].figures & parts[other].figures


def test_a_report_is_asked_about_in_one_split_and_training_shows_no_other(library: ReportLibrary) -> None:
    cited = {
        split: {
            row["passages"][row["citations"][0]]["source"] for row in from_files(library, split) if row["citations"]
        }
        for split in SPLITS
    }
    assert all(cited.values()) and sum(map(len, cited.values())) == len(set().union(*cited.values())) == 12
    shown = {passage["source"] for row in from_files(library) for passage in row["passages"]}
    assert not shown & (cited["val"] | cited["test"])


def test_a_figure_stated_twice_is_asked_about_in_one_split(tmp_path: Path) -> None:
    for index in range(12):
        text = f"第{index}页：公司实现营业收入77.70亿元，销售费用{index + 1}.30亿元。"
        (tmp_path / f"甲公司第{index}部分.txt").write_text(text, encoding="utf-8")
    library = read_reports(tmp_path)
    rows = {split: from_files(library, split) for split in SPLITS}
    assert [split for split in SPLITS if any("77.70" in row["answer"] for row in rows[split])] == ["train"]
    assert all(rows.values())


def test_refusals_are_at_most_a_fifth_of_the_file_rows(library: ReportLibrary, small: ReportLibrary) -> None:
    for each in (library, small):
        for split in SPLITS:
            for count in (3, 20, 60, 400):
                kinds = Counter(row["kind"] for row in from_files(each, split, count))
                assert kinds["file_not_stated"] <= 0.2 * kinds.total() and kinds.total() <= 0.5 * count + 1


def test_a_small_library_gives_answers_and_a_split_without_figures_gives_none(small: ReportLibrary) -> None:
    kinds = Counter(row["kind"] for row in from_files(small))
    assert kinds["file_look_up"] > 5 and kinds["file_ratio"] >= 2 and 0 < kinds["file_not_stated"] <= kinds.total() / 5
    assert from_files(small, "val") == [] == from_files(small, "test")
    assert len(report_rows(40, "test", 1, small)) == 40  # simulated ones instead


def test_of_passages_without_figures_nothing_is_asked(tmp_path: Path) -> None:
    (tmp_path / "展望.md").write_text(OUTLOOK, encoding="utf-8")
    library = read_reports(tmp_path)
    assert all(from_files(library, split) == [] for split in SPLITS)


def test_the_only_file_gives_its_own_other_sentences_as_distractors(tmp_path: Path) -> None:
    (tmp_path / "甲公司2024年报.txt").write_text(OUTLOOK + REPORT, encoding="utf-8")
    rows = [row for row in from_files(read_reports(tmp_path)) if row["citations"]]
    assert {tuple(row["citations"]) for row in rows} >= {(0,), (1,)}


def test_the_summary_counts_passages_and_figures_of_each_file(small: ReportLibrary) -> None:
    lines = library_summary(small)
    assert lines == [
        "丙公司2024三季报.pdf：1 段，5 个数字",
        "乙公司2023年报.txt：1 段，0 个数字",
        "甲公司2024年报.txt：1 段，6 个数字",
        "说明.txt：1 段，0 个数字",
    ]
    rows: dict[str, list[Row]] = {split: report_rows(30, split, 1, small) for split in SPLITS}
    assert file_row_counts(rows) == {"train": 15, "val": 0, "test": 0}


def test_the_same_seed_makes_the_same_rows(library: ReportLibrary) -> None:
    assert report_rows(60, "train", 7, library) == report_rows(60, "train", 7, library)
    assert report_rows(60, "train", 7, library) != report_rows(60, "train", 8, library)

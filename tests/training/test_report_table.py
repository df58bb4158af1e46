"""The table of measures, on the page and in Markdown: the result's figures, and reasons where there is none."""

from __future__ import annotations

import re

import pytest
from fintunnel_training.comparison.report.markdown import table_markdown
from fintunnel_training.comparison.report.measure_table import measure_table
from fintunnel_training.comparison.report.number_format import difference as shown
from fintunnel_training.comparison.report.number_format import duration, estimate, percent, signed, size
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.result import MEASURES, ComparisonResult, Estimate, Measure

from tests.training.comparison_parts import BASE, HOSTED, TUNED
from tests.training.comparison_results import difference, full
from tests.training.comparison_variants import VARIANTS, variant

LANGUAGES: tuple[Language, ...] = ("zh", "en")


def with_measure(measure: Measure) -> ComparisonResult:
    return full().model_copy(update={"measures": [measure]})


@pytest.mark.parametrize("name", VARIANTS)
def test_every_figure_is_the_results(name: str) -> None:
    result = variant(name)
    table = measure_table(result, Say("zh"))
    order = list(MEASURES)
    measures = sorted(result.measures, key=lambda m: (_GROUPS.index(m.group), order.index(m.name)))
    assert len(table.rows) == len(measures)
    for row, measure in zip(table.rows, measures, strict=True):
        for system, cell in zip(table.systems, row.cells, strict=True):
            found = measure.systems.get(system.name, Estimate(value=None))
            assert cell.text == estimate(measure.name, found)
            assert (cell.note > 0) == (found.value is None or found.why_not is not None)


_GROUPS = ("impact", "direction", "reports", "form", "speed")


def test_missing_values_have_a_dash_and_their_reason() -> None:
    table = measure_table(full(), Say("zh"))
    row = next(row for row in table.rows if row.title.startswith("AUC"))
    cell = row.cells[[system.name for system in table.systems].index(HOSTED)]
    assert cell.value == "–" and cell.interval == ""
    assert table.footnotes[cell.note - 1] == "云端 API 不给概率"


@pytest.mark.parametrize(
    ("name", "base", "tuned", "best"),
    [
        ("auc", 0.5, 0.6, {TUNED}),
        ("brier", 0.5, 0.6, {BASE}),
        ("characters", 50.0, 60.0, set()),
        ("auc", 0.6001, 0.6004, set()),  # equal as printed
    ],
)
def test_the_best_value_is_marked_by_the_measures_way(name: str, base: float, tuned: float, best: set[str]) -> None:
    systems = {BASE: Estimate(value=base, low=0.0, high=1.0), TUNED: Estimate(value=tuned, low=0.0, high=1.0)}
    measure = Measure.model_validate({"group": "impact", "name": name, "systems": systems})
    table = measure_table(with_measure(measure), Say("zh"))
    marked = {s.name for s, cell in zip(table.systems, table.rows[0].cells, strict=True) if cell.best}
    assert marked == best


def test_baselines_are_the_last_columns() -> None:
    kinds = [system.kind == "baseline" for system in measure_table(full(), Say("zh")).systems]
    assert kinds == sorted(kinds) and kinds.count(True) == 3


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_markdown_is_one_table(name: str, language: Language) -> None:
    lines = table_markdown(variant(name), language).splitlines()
    rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1 and len(rows) == 2 + len(variant(name).measures)
    assert set("".join(rows[1])) <= {"-", ":", " "}
    notes = {number for line in lines if line.startswith("|") for number in re.findall(r"\[\^(\d+)\]", line)}
    assert notes == {line[2 : line.index("]")] for line in lines if line.startswith("[^")}


def test_the_markdown_writes_intervals_and_a_caption() -> None:
    text = table_markdown(full(), "zh")
    caption = text.splitlines()[0]
    assert "新闻 317 条" in caption and "13 天" in caption and "自助抽样 1000 次" in caption
    assert "| **0.398 [0.346, 0.450]** |" in text and "macro-F1 ↑" in text
    assert text.endswith("\n") and "指标" in text and "measure" not in text
    assert "measure" in table_markdown(full(), "en")


def test_numbers_are_written_as_people_read_them() -> None:
    assert shown(difference("impact", "auc", "base", (0.0512, 0.0118, 0.0903))) == "+0.051 [+0.012, +0.090]"
    assert shown(difference("impact", "auc", "base", None)) == "–"
    assert signed("auc", -0.00001) == "0.000" and signed("milliseconds", 1234.4) == "+1,234"
    assert duration(4512.3) == "1:15:12" and duration(161.5) == "2:42"
    assert percent(0.002884) == "0.29%" and percent(0.884) == "88.4%"
    assert size(40_012_345) == "40.0 MB" and size(1176) == "1.2 KB"

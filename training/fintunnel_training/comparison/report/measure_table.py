"""The table of measures: one for the page, for the thesis and for the tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from fintunnel_training.comparison.report.number_format import interval, number
from fintunnel_training.comparison.report.say import GROUPS, Say
from fintunnel_training.comparison.result import MEASURES, ComparisonResult, Estimate, Group, Measure, System

__all__ = ["Cell", "MeasureRow", "MeasureTable", "measure_table"]


@dataclass(frozen=True)
class Cell:
    """`note`: the number of the footnote, from 1; 0 where there is none."""

    value: str
    interval: str = ""
    best: bool = False
    note: int = 0

    @property
    def text(self) -> str:
        return f"{self.value} {self.interval}".strip()


@dataclass(frozen=True)
class MeasureRow:
    """`arrow`: ↑ where higher is better, ↓ where lower is, else nothing; `rows`: None where it is not of rows;
    `cells`: by the table's systems."""

    group: Group
    title: str
    arrow: str
    rows: int | None
    cells: list[Cell]


@dataclass
class MeasureTable:
    """`systems`: the columns, baselines last."""

    systems: list[System]
    groups: list[tuple[str, list[MeasureRow]]] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)

    def footnote(self, text: str) -> int:
        """Its number, from 1; one text has one number."""
        if text not in self.footnotes:
            self.footnotes.append(text)
        return self.footnotes.index(text) + 1

    @property
    def rows(self) -> list[MeasureRow]:
        return [row for _, rows in self.groups for row in rows]


def measure_table(result: ComparisonResult, say: Say) -> MeasureTable:
    """Rows in the order of `MEASURES`, by group; systems without any figure have no column."""
    having = {name for measure in result.measures for name in measure.systems}
    models = [system for system in result.systems if system.kind != "baseline" and system.name in having]
    baselines = [system for system in result.systems if system.kind == "baseline" and system.name in having]
    table = MeasureTable([*models, *baselines])
    order = list(MEASURES)
    for group in GROUPS:
        measures = sorted((m for m in result.measures if m.group == group), key=lambda m: order.index(m.name))
        rows = [_row(measure, table, say) for measure in measures if measure.systems]
        if rows:
            table.groups.append((say.group(group), rows))
    return table


def _row(measure: Measure, table: MeasureTable, say: Say) -> MeasureRow:
    way = MEASURES[measure.name]
    most = max((found.rows for found in measure.systems.values()), default=0)
    # Whoever answered a part alone may have had the easier one.
    values = {
        name: found.value
        for name, found in measure.systems.items()
        if found.value is not None and found.rows in (0, most)
    }
    best: set[str] = set()
    # Equal as printed is equal: a reader sees no winner among like figures.
    if way != "neither" and len({number(measure.name, value) for value in values.values()}) > 1:
        top = (max if way == "higher" else min)(values.values())
        best = {name for name, value in values.items() if number(measure.name, value) == number(measure.name, top)}
    return MeasureRow(
        measure.group,
        say.detailed(measure.group, measure.name),
        {"higher": "↑", "lower": "↓", "neither": ""}[way],
        most or None,
        [_cell(measure, system, best, most, table, say) for system in table.systems],
    )


def _cell(measure: Measure, system: System, best: set[str], most: int, table: MeasureTable, say: Say) -> Cell:
    found = measure.systems.get(system.name) or Estimate(
        value=None, why_not=("这一项对它不适用或没有测", "does not apply to it, or was not measured")
    )
    note = 0
    if found.value is None or found.low is None or found.high is None:
        reason = say(*(found.why_not or ("没有给出原因", "no reason given")))
        if found.value is None or found.why_not is not None:
            note = table.footnote(reason)
    if found.value is None:
        return Cell("–", note=note)
    if 0 < found.rows < most and note == 0:
        note = table.footnote(say(f"只算了它答出的 {found.rows} 条", f"over the {found.rows} that it answered"))
    return Cell(
        number(measure.name, found.value),
        interval(measure.name, found.low, found.high),
        system.name in best,
        note,
    )

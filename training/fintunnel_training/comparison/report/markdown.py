"""`table.md`: the measures for a thesis."""

from __future__ import annotations

import re

from fintunnel_training.comparison.report.measure_table import measure_table
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.untrusted import harmless
from fintunnel_training.comparison.result import ComparisonResult

__all__ = ["table_markdown"]


def table_markdown(result: ComparisonResult, language: Language) -> str:
    """A caption, one table whose best values are bold, and its footnotes. Every row has as many cells as the head."""
    say = Say(language)
    table = measure_table(result, say)
    head = [say("组", "group"), say("指标", "measure"), "n"]
    head += [
        f"{system.name}（{say.kind(system.kind)}）" if language == "zh" else f"{system.name} ({say.kind(system.kind)})"
        for system in table.systems
    ]
    lines = [_caption(result, say), "", _line(head), _line(["---", "---", "---:", *["---:"] * len(table.systems)])]
    for group, rows in table.groups:
        for row in rows:
            cells = [
                (f"**{cell.text}**" if cell.best else cell.text) + (f" [^{cell.note}]" if cell.note else "")
                for cell in row.cells
            ]
            lines.append(_line([group, f"{row.title} {row.arrow}".strip(), str(row.rows or "–"), *cells], escape=3))
    lines += [
        "",
        say(
            "↑ 越高越好，↓ 越低越好；粗体是这一行最好的值，–：没有值。",
            "↑ higher is better, ↓ lower; bold: the row's best; –: no value.",
        ),
    ]
    lines += ["", *(f"[^{number}]: {_escaped(reason)}" for number, reason in enumerate(table.footnotes, 1))]
    return "\n".join(lines).rstrip() + "\n"


def _caption(result: ComparisonResult, say: Say) -> str:
    data = result.data
    return say(
        f"表：各系统的指标。新闻 {data.news} 条（{data.labelled} 条有真实结果，{data.days} 天），财报题 "
        f"{data.reports} 道；"
        f"方括号内是 95% 区间（按整天分块自助抽样 {result.resamples} 次，{result.seed} 起的 {result.seeds} 个种子）。",
        f"Table: measures by system. {data.news} pieces of news ({data.labelled} with known outcome, "
        f"{data.days} days), "
        f"{data.reports} report questions; brackets: 95 % intervals (block bootstrap: {result.resamples} resamples of "
        f"whole days for each of {result.seeds} seeds).",
    )


def _line(cells: list[str], escape: int | None = None) -> str:
    shown = [_escaped(cell) if escape is None or i < escape else cell for i, cell in enumerate(cells)]
    return "| " + " | ".join(shown) + " |"


def _escaped(text: str) -> str:
    """A name that holds a bar, a line end or markup stays one cell of text."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(harmless(text).split()))

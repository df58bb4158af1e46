"""What `fintunnel compare` says at its end: the answers of a quick look, the figures that decide, the summary, the
files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from fintunnel.chinese import LABELS_ZH
from fintunnel.terminal_text import printable
from fintunnel.wire import NewsRequest

from fintunnel_training.comparison.report.baseline_names import with_baseline_names
from fintunnel_training.comparison.report.number_format import number
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.summary import people_said, summary
from fintunnel_training.comparison.result import MEASURES, Answer, ComparisonResult, Example, Group, MeasureName

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["show"]

_SENTENCES = 2  # the verdict and what it can do now; the rest is the report's
_SHOWN: tuple[tuple[Group, MeasureName], ...] = (
    ("impact", "auc"),
    ("impact", "macro_f1"),
    ("impact", "ece"),
    ("direction", "macro_f1"),
    ("direction", "auc"),
    ("reports", "figures_right"),
    ("reports", "citations_right"),
    ("reports", "not_stated_right"),
    ("form", "valid"),
    ("form", "valid_free"),
    ("speed", "milliseconds"),
)


def show(result: ComparisonResult, written: Sequence[Path], language: Language) -> None:
    """Print it. Texts of news and models cannot move the cursor or colour anything."""
    from rich.console import Console

    result = with_baseline_names(result, Say(language))
    console = Console(markup=False, emoji=False, highlight=False)
    for example in result.examples:
        if example.chosen == "asked":
            console.print(_answers(example, Say(language)))
    table = _figures(result, Say(language))
    if table.row_count:
        console.print(table)
    said = [*summary(result, language)[:_SENTENCES], *people_said(result, Say(language))]
    for line in [*said, *(Say(language)(*note) for note in result.notes)]:
        console.print(printable(line))
    typer.echo(f"写好：{'，'.join(str(path) for path in written if path.suffix != '.png')}（图在 pictures 里）")


def _answers(example: Example, say: Say) -> Table:
    """One question, a row for each system."""
    from rich import box
    from rich.table import Table

    request = example.request
    title = request.text if isinstance(request, NewsRequest) else request.question
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=printable(title), title_justify="left")
    for name in (say("系统", "system"), say("标签或引用", "labels or citations"), say("文字", "text")):
        table.add_column(name)
    for answer in example.answers:
        table.add_row(answer.system, _labels(answer), printable(answer.text or answer.failure or ""))
    return table


def _labels(answer: Answer) -> str:
    if answer.citations is not None:
        return "".join(f"[{index}]" for index in answer.citations) or "–"
    parts = []
    for label, probabilities in ((answer.impact, answer.impact_probs), (answer.direction, answer.direction_probs)):
        if label is not None:
            sure = f" {probabilities[label]:.0%}" if probabilities is not None and label in probabilities else ""
            parts.append(f"{LABELS_ZH[label]}{sure}")
    return "，".join(parts)


def _figures(result: ComparisonResult, say: Say) -> Table:
    """The models, and the best baseline of each measure; intervals would not fit into a terminal's width."""
    from rich import box
    from rich.table import Table

    models = [system.name for system in result.systems if system.kind != "baseline"]
    baselines = [system.name for system in result.systems if system.kind == "baseline"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(say("指标", "measure"))
    for name in [*models, *([say("最好的基线", "best baseline")] if baselines else [])]:
        table.add_column(name, justify="right")
    for measure in result.measures:
        if (measure.group, measure.name) not in _SHOWN:
            continue
        values = {name: found.value for name, found in measure.systems.items() if found.value is not None}
        cells = [number(measure.name, values[name]) if name in values else "–" for name in models]
        if baselines:
            known = [values[name] for name in baselines if name in values]
            best = (max if MEASURES[measure.name] == "higher" else min)(known) if known else None
            cells.append("–" if best is None else number(measure.name, best))
        table.add_row(say.measured(measure.group, measure.name), *cells)
    return table

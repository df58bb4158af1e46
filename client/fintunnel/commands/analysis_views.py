"""Analyses for people: tables with bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from fintunnel.chinese import LABELS_ZH
from fintunnel.errors import ERROR_PREFIX, FinTunnelError
from fintunnel.terminal_text import printable
from fintunnel.wire import NewsAnalysis

__all__ = ["Row", "analysis_view", "rows_view"]

_BAR_CELLS = 24
_SHOWN = 120  # characters of a headline in a table
_COLOURS = {
    "low": "green",
    "medium": "yellow",
    "high": "red",
    "bearish": "green",  # in China green is down and red is up
    "neutral": "yellow",
    "bullish": "red",
}


class Row(NamedTuple):
    text: str
    result: NewsAnalysis | FinTunnelError


def analysis_view(analysis: NewsAnalysis) -> RenderableType:
    """One analysis: a bar for each class, the reason, and who answered."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    for title, label, probabilities in (
        ("影响", analysis.impact, analysis.impact_probs),
        ("方向", analysis.direction, analysis.direction_probs),
    ):
        table.add_row(title, Text(LABELS_ZH[label], style=f"bold {_COLOURS[label]}"))
        for name, probability in (probabilities or {}).items():
            table.add_row("", *_bar(name, probability, chosen=name == label))
    if analysis.signals is not None:
        table.add_row("信号", _signals(analysis) or "无")
    parts: list[RenderableType] = [table]
    if analysis.rationale:
        reason = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
        reason.add_row("理由", Text(printable(analysis.rationale)))
        parts.append(reason)
    parts.append(Text(_who(analysis), style="dim"))
    return Group(*parts)


def rows_view(rows: Sequence[Row]) -> RenderableType:
    """Many of them: a line each, the failed ones with their reason."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("消息", ratio=3, overflow="fold")
    for title in ("影响", "方向", "信号"):
        table.add_column(title, no_wrap=True)
    table.add_column("理由", ratio=4, overflow="fold")
    for number, (text, result) in enumerate(rows, 1):
        headline = Text(printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"))
        if isinstance(result, FinTunnelError):
            table.add_row(
                str(number), headline, "", "", "", Text(f"{ERROR_PREFIX} {printable(result.message)}", style="red")
            )
            continue
        table.add_row(
            str(number),
            headline,
            _label(result.impact, result.impact_probs),
            _label(result.direction, result.direction_probs),
            _signals(result),
            Text(printable(result.rationale or "")),
        )
    return table


def _bar(name: str, probability: float, *, chosen: bool) -> tuple[Text, Text, str]:
    filled = round(probability * _BAR_CELLS)
    bar = Text("█" * filled, style=_COLOURS[name] if chosen else "dim")
    bar.append("·" * (_BAR_CELLS - filled), style="dim")
    return Text(LABELS_ZH[name], style="" if chosen else "dim"), bar, f"{probability:6.1%}"


def _label(label: str, probabilities: Mapping[Any, float] | None) -> Text:
    shown = Text(LABELS_ZH[label], style=_COLOURS[label])
    if probabilities is not None:
        shown.append(f" {probabilities[label]:.0%}", style="dim")
    return shown


def _signals(analysis: NewsAnalysis) -> str:
    return "、".join(LABELS_ZH[signal] for signal in analysis.signals or [])


def _who(analysis: NewsAnalysis) -> str:
    model = analysis.model
    adapter = f" + {printable(model.adapter)}" if model.adapter else ""
    fallback = "（代答：自己的服务没有应答）" if model.fallback else ""
    return (
        f"{model.backend}：{printable(model.base)}{adapter}{fallback}，{analysis.timing_ms.total / 1000:.1f} 秒，"
        f"{analysis.usage.prompt_tokens} + {analysis.usage.completion_tokens} token"
    )

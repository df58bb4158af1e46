"""The tables of `dataset stats`: what `describe` counted, for 80 columns, in Chinese."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from fintunnel.chinese import LABELS_ZH
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS
from rich import box
from rich.table import Table

from fintunnel_training.dataset.looking.preview import KINDS_ZH, SPLITS_ZH, STYLES_ZH
from fintunnel_training.dataset.looking.stats import MAX_LENGTH, Length
from fintunnel_training.dataset.looking.terminal_text import visible

__all__ = ["length_figures", "tables"]

_NAMES = {**LABELS_ZH, "other": "其他"}
_MONTHS_AT_MOST = 24


def tables(figures: dict[str, Any]) -> Iterator[Table]:
    splits = list(figures["rows"])
    yield _mix_table(figures, splits)
    if any(counts["rows"] for counts in figures["labels"].values()):
        yield _label_table(figures, splits)
    for unit in ("characters", "tokens"):
        if figures["lengths"].get(unit):
            yield _length_table(figures["lengths"][unit], unit)
    if figures["months"]:
        yield _month_table(figures["months"], splits)


def _table(title: str, names: Sequence[str], columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _mix_table(figures: dict[str, Any], splits: Sequence[str]) -> Table:
    table = _table("行数", ["类型", "写法"], [SPLITS_ZH[split] for split in splits])
    for kind, by_style in figures["mix"].items():
        for style, counts in by_style.items():
            names = [visible(KINDS_ZH.get(kind, _NAMES.get(kind, kind)))]
            names.append(visible(STYLES_ZH.get(style, _NAMES.get(style, style))))
            table.add_row(*(name[:20] for name in names), *(f"{counts[split]:,}" for split in splits))
    table.add_section()
    table.add_row("合计", "", *(f"{figures['rows'][split]:,}" for split in splits))
    if any(figures["events"].values()):
        table.add_row("不同的事件", "", *(f"{figures['events'][split]:,}" for split in splits))
    if any(figures["bad_lines"].values()):
        table.add_row("读不懂的行", "", *(f"{figures['bad_lines'][split]:,}" for split in splits))
    return table


def _label_table(figures: dict[str, Any], splits: Sequence[str]) -> Table:
    labels = figures["labels"]
    table = _table("标签（占有标签的行）", ["", ""], [SPLITS_ZH[split] for split in splits])
    for field, title, names in (("impact", "影响", IMPACTS), ("direction", "方向", DIRECTIONS)):
        for number, name in enumerate(names):
            cells = (_share(labels[split][field][name], labels[split]["rows"]) for split in splits)
            table.add_row("" if number else title, _NAMES[name], *cells)
        balances = (labels[split]["balance"][field] for split in splits)
        table.add_row("", "最多/最少", *("–" if value is None else f"{value:.2f} 倍" for value in balances))
        table.add_section()
    for number, signal in enumerate(SIGNALS):
        cells = (_share(labels[split]["signals"][signal], labels[split]["rows_with_signals"]) for split in splits)
        table.add_row("" if number else "信号", _NAMES[signal], *cells)
    table.add_section()
    for number, (there, title) in enumerate((("with_context", "有"), ("without_context", "无"))):
        totals = (labels[split]["with_context"] + labels[split]["without_context"] for split in splits)
        cells = (_share(labels[split][there], total) for split, total in zip(splits, totals, strict=True))
        table.add_row("" if number else "行情", title, *cells)
    return table


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:3.0f}%)" if total else "–"


def length_figures(lengths: Sequence[Length]) -> dict[str, dict[str, int]]:
    """Per kind: medians of prompt, answer and whole, the whole's 95 % quantile and maximum, rows over the limit."""
    table = {}
    for kind in sorted({length.kind for length in lengths}):
        chosen = [length for length in lengths if length.kind == kind]
        wholes = sorted(length.whole for length in chosen)
        table[kind] = {
            "rows": len(chosen),
            "prompt_median": round(median(length.prompt for length in chosen)),
            "answer_median": round(median(length.answer for length in chosen)),
            "median": round(median(wholes)),
            "p95": wholes[-(-len(wholes) * 95 // 100) - 1],
            "longest": wholes[-1],
            "over_max_length": sum(whole > MAX_LENGTH for whole in wholes),
        }
    return table


def _length_table(lengths: dict[str, dict[str, int]], unit: str) -> Table:
    columns = ["提示词", "答案", "合计", "95% 分位", "最长"] + ([f"超过 {MAX_LENGTH}"] if unit == "tokens" else [])
    title = "长度（字；提示词、答案、合计为中位数）" if unit == "characters" else "长度（token，含对话模板）"
    table = _table(title, ["类型"], columns)
    for kind, row in lengths.items():
        values = [row["prompt_median"], row["answer_median"], row["median"], row["p95"], row["longest"]]
        values += [row["over_max_length"]] if unit == "tokens" else []
        name = visible(KINDS_ZH.get(kind, _NAMES.get(kind, kind)))[:20]
        table.add_row(name, *(f"{value:,}" for value in values))
    return table


def _month_table(months: dict[str, dict[str, int]], splits: Sequence[str]) -> Table:
    by_year = len(months) > _MONTHS_AT_MOST
    table = _table("时间（行，北京时间）", ["年" if by_year else "月"], [SPLITS_ZH[split] for split in splits])
    periods: dict[str, dict[str, int]] = {}
    for month, counts in months.items():
        period = periods.setdefault(month[:4] if by_year else month, dict.fromkeys(splits, 0))
        for split in splits:
            period[split] += counts[split]
    for name, counts in periods.items():
        table.add_row(name, *(f"{counts[split]:,}" for split in splits))
    return table

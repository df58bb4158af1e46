"""The pictures of `dataset stats`: labels over time, lengths, mix.

Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from fintunnel.wire import DIRECTIONS, IMPACTS

from fintunnel_training.dataset.looking.drawing import Words, new_figure, save_png
from fintunnel_training.dataset.looking.looked import OTHER, Looked, event_key, labels_of, named, published_at
from fintunnel_training.dataset.looking.stats import MAX_LENGTH, Length, unnatural_training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_labels_over_time", "plot_lengths", "plot_mix"]

_IMPACT_COLOURS = {"low": "#c9dff0", "medium": "#5aa0cf", "high": "#0b4a80"}
_DIRECTION_COLOURS = {"bearish": "#d55e00", "neutral": "#bdbdbd", "bullish": "#0072b2"}
_KIND_COLOURS = {"news": "#0072b2", "market": "#e69f00", "report": "#009e73", OTHER: "#999999"}
_STYLE_HATCHES = {"json": "", "news_prose": "///", "market_prose": "///", OTHER: ".."}
_WEEKS_AT_MOST = 110  # more bars than that cannot be told apart: months instead
_COUNTS_AT_MOST = 16  # bars with room for a number above each


def plot_labels_over_time(looked: Looked, path: Path) -> bool:
    """Shares of the impact and direction classes per week (per month over many years), each event once, and where
    the splits begin. Returns False, without a file, where no labelled row has a time."""
    seen: set[str] = set()
    labelled: list[tuple[datetime, str, dict[str, Any]]] = []
    for split, rows in looked.rows.items():
        for row in rows:
            at, labels, key = published_at(row), labels_of(row), event_key(row)
            if at is None or not labels or key in seen:
                continue
            seen.update([key] if key else [])
            labelled.append((at, split, labels))
    if not labelled:
        return False
    first, last = min(at for at, _, _ in labelled).date(), max(at for at, _, _ in labelled).date()
    step: Literal["week", "month"] = "week" if (last - first).days <= 7 * _WEEKS_AT_MOST else "month"
    starts = sorted({_start(at.date(), step) for at, _, _ in labelled})
    with Words() as say:
        figure = new_figure(9, 6.4)
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, field, names, colours in (
            (upper, "impact", IMPACTS, _IMPACT_COLOURS),
            (lower, "direction", DIRECTIONS, _DIRECTION_COLOURS),
        ):
            counts = Counter((_start(at.date(), step), str(labels.get(field))) for at, _, labels in labelled)
            totals = {start: sum(counts[start, name] for name in names) for start in starts}
            below = [0.0] * len(starts)
            for name in names:
                heights = [100 * counts[start, name] / max(totals[start], 1) for start in starts]
                # The numbers of matplotlib's dates are days, so a bar stands over the days that it counts.
                axes.bar(
                    [_day(start) for start in starts],
                    heights,
                    width=[_days(start, step) * 0.9 for start in starts],
                    align="edge",
                    bottom=below,
                    color=colours[name],
                    label=say.label(name),
                )
                below = [a + b for a, b in zip(below, heights, strict=True)]
            if len(starts) <= _COUNTS_AT_MOST:
                for start in starts:
                    axes.text(_day(start) + _days(start, step) * 0.45, 101, str(totals[start]), ha="center", fontsize=8)
            axes.set(ylim=(0, 108 if len(starts) <= _COUNTS_AT_MOST else 100), ylabel=say("份额（%）", "share (%)"))
            axes.set_yticks(range(0, 101, 25))
            axes.set_title(say("影响程度", "Impact") if field == "impact" else say("短线方向", "Direction"), loc="left")
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, reverse=True)
            axes.spines[["top", "right"]].set_visible(False)
        _mark_splits(upper, lower, labelled, say)
        _date_axis(lower, starts, step)
        unit = {"week": say("每周", "per week"), "month": say("每月", "per month")}[step]
        counted = say("；柱顶是事件数", "; events above each bar") if len(starts) <= _COUNTS_AT_MOST else ""
        figure.suptitle(say(f"标签随时间的变化（{unit}，北京时间{counted}）", f"Labels over time ({unit}{counted})"))
        _note_training(figure, looked, say)
        save_png(figure, path)
    return True


def plot_lengths(lengths: Sequence[Length], path: Path, *, in_tokens: bool) -> None:
    """How long prompt and answer are together, a histogram per kind."""
    kinds = [kind for kind in _KIND_COLOURS if any(_known(length.kind) == kind for length in lengths)]
    every = sorted(length.whole for length in lengths)
    # One row of a hundred times the usual length must not squeeze all others into one bar: it goes into the last.
    right = max(min(every[-1], every[len(every) * 99 // 100] * 1.5), MAX_LENGTH * 1.1 if in_tokens else 1)
    edges = [right * i / 50 for i in range(51)]
    with Words() as say:
        figure = new_figure(9, 1.6 + 1.7 * len(kinds))
        for axes, kind in zip(figure.subplots(len(kinds), 1, sharex=True, squeeze=False).flat, kinds, strict=True):
            values = sorted(length.whole for length in lengths if _known(length.kind) == kind)
            axes.hist([min(value, right) for value in values], bins=edges, color=_KIND_COLOURS[kind])
            title = f"{say.kind(kind)}  n = {len(values):,}  " + say(
                f"中位数 {median(values):,.0f}，最长 {values[-1]:,}",
                f"median {median(values):,.0f}, longest {values[-1]:,}",
            )
            if in_tokens:
                over = sum(value > MAX_LENGTH for value in values)
                axes.axvline(MAX_LENGTH, color="black", linestyle="--", linewidth=1)
                title += say(f"，超过 {MAX_LENGTH}：{over:,} 行", f", over {MAX_LENGTH}: {over:,} rows")
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_ylabel(say("行数", "rows"))
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
        unit = "token" if in_tokens else say("字", "characters")
        axes.set_xlabel(say(f"提示词 + 答案的长度（{unit}）", f"prompt + answer ({'tokens' if in_tokens else unit})"))
        axes.set_xlim(0, right)
        limit = say(f"，虚线：训练的长度上限 {MAX_LENGTH}", f"; dashed: max length {MAX_LENGTH}") if in_tokens else ""
        figure.suptitle(say(f"样本长度{limit}", f"Length of the rows{limit}"))
        save_png(figure, path)


def plot_mix(looked: Looked, path: Path) -> None:
    """Shares of kinds and styles in each split."""
    counts = Counter(
        (split, _known(named(row, "kind")), _style(named(row, "style")))
        for split, rows in looked.rows.items()
        for row in rows
    )
    splits = [split for split, rows in looked.rows.items() if rows]
    with Words() as say:
        figure = new_figure(9, 1.9 + 0.75 * len(splits))
        axes = figure.add_subplot()
        left = dict.fromkeys(splits, 0.0)
        for kind in _KIND_COLOURS:
            for style, hatch in _STYLE_HATCHES.items():
                if not any(counts[split, kind, style] for split in splits):
                    continue
                shares = [100 * counts[split, kind, style] / len(looked.rows[split]) for split in splits]
                bars = axes.barh(
                    range(len(splits)),
                    shares,
                    left=list(left.values()),
                    color=_KIND_COLOURS[kind],
                    alpha=0.55 if hatch else 1,
                    hatch=hatch,
                    edgecolor="white",
                    label=say.kind(kind) + ("" if style == OTHER else " · " + say.style(style)),
                )
                for bar, split, share in zip(bars, splits, shares, strict=True):
                    if share >= 4:
                        axes.text(
                            bar.get_x() + share / 2,
                            bar.get_y() + bar.get_height() / 2,
                            f"{counts[split, kind, style]:,}",
                            ha="center",
                            va="center",
                            fontsize=9,
                            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
                        )
                    left[split] += share
        axes.set_yticks(range(len(splits)), [f"{say.split(split)}\n{len(looked.rows[split]):,}" for split in splits])
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel=say("占该划分的份额（%），格内是行数", "share of the split (%), rows inside"))
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.suptitle(say("样本构成：类型与写法", "Mix: kinds and styles"))
        save_png(figure, path)


# --- parts of a figure ----------------------------------------------------------------------------------


def _mark_splits(upper: Axes, lower: Axes, labelled: Sequence[tuple[datetime, str, Any]], say: Words) -> None:
    for split in ("val", "test"):
        times = [at for at, name, _ in labelled if name == split]
        if times and any(name == "train" for _, name, _ in labelled):
            begin = _day(min(times).date()) + min(times).hour / 24
            for axes in (upper, lower):
                axes.plot([begin, begin], [0, 100], color="white", linewidth=3)  # seen on dark bars as well
                axes.plot([begin, begin], [0, 100], color="black", linewidth=1.2, linestyle="--")
            upper.annotate(
                say(f"{say.split(split)}开始", f"{say.split(split)} begins"),
                (begin, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right" if split == "val" else "left",  # the two may be close
                fontsize=8,
            )


def _date_axis(axes: Axes, starts: Sequence[date], step: Literal["week", "month"]) -> None:
    every = -(-len(starts) // 10)
    shown = starts[::every]
    axes.set_xticks([_day(start) for start in shown])
    pattern = "%m-%d" if step == "week" and starts[0].year == starts[-1].year else "%y-%m-%d"
    if step == "month":
        pattern = "%Y-%m"
    axes.set_xticklabels([start.strftime(pattern) for start in shown])
    axes.set_xlim(_day(starts[0]) - 1, _day(starts[-1]) + _days(starts[-1], step) + 1)
    axes.set_xlabel(f"{starts[0]:%Y}" if starts[0].year == starts[-1].year else "")


def _note_training(figure: Figure, looked: Looked, say: Words) -> None:
    unnatural = unnatural_training(looked)
    if unnatural is None:
        return
    text = {
        "balanced": say(
            "训练集经过均衡/抽样，其份额不是自然分布；验证集和测试集是自然分布",
            "The training rows are balanced or sampled: not the natural mix. Validation and test are natural.",
        ),
        "sampled": say(
            "训练集经过抽样，其份额不一定是自然分布", "The training rows are a sample, not necessarily the natural mix."
        ),
    }[unnatural]
    figure.supxlabel(text, fontsize=9, color="#a04000")


def _known(kind: str) -> str:
    return kind if kind in _KIND_COLOURS else OTHER


def _style(style: str) -> str:
    return style if style in _STYLE_HATCHES else OTHER


def _start(day: date, step: Literal["week", "month"]) -> date:
    return day.replace(day=1) if step == "month" else day - timedelta(days=day.weekday())


def _days(start: date, step: Literal["week", "month"]) -> int:
    return 7 if step == "week" else ((start + timedelta(days=32)).replace(day=1) - start).days


def _day(day: date) -> float:
    return float(day.toordinal())

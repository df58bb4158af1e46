"""The picture of surprises against reactions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fintunnel_training.dataset.looking.drawing import Words, new_figure, save_png
from fintunnel_training.dataset.looking.surprise import Surprise, correlation, correlation_interval
from fintunnel_training.instructions import SPLITS

__all__ = ["plot_surprises"]

_SPLIT_COLOURS = {"train": "#0072b2", "val": "#e69f00", "test": "#009e73"}
_SPLIT_MARKERS = {"train": "o", "val": "s", "test": "^"}


def plot_surprises(points: Sequence[Surprise], path: Path, *, unnatural_training: bool = False) -> None:
    """How far releases surprised in gold's favour, against how gold moved."""
    r = correlation(points)
    with Words() as say:
        figure = new_figure(7.5, 5.6)
        axes = figure.add_subplot()
        for split in SPLITS:
            chosen = [point for point in points if point.split == split]
            if chosen:
                axes.scatter(
                    [point.towards_gold for point in chosen],
                    [point.reaction for point in chosen],
                    s=36 if len(points) < 300 else 14,
                    alpha=0.75 if len(points) < 300 else 0.45,
                    color=_SPLIT_COLOURS[split],
                    marker=_SPLIT_MARKERS[split],
                    edgecolor="white",
                    linewidth=0.5,
                    label=f"{say.split(split)} ({len(chosen):,})",
                )
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.axvline(0, color="#888888", linewidth=0.8)
        if r is not None:
            x = [point.towards_gold for point in points]
            slope, level = np.polyfit(x, [point.reaction for point in points], 1)
            ends = [min(x), max(x)]
            axes.plot(ends, [level + slope * end for end in ends], color="black", linewidth=1.2, linestyle="--")
        axes.set_xlabel(
            say(
                "意外 ×（+1 利多黄金，-1 利空黄金），以该指标的常见变动为单位",
                "surprise x polarity for gold, in usual changes of the indicator",
            )
        )
        axes.set_ylabel(say("发布后金价变动，以此前常见波动为单位", "gold's reaction, in typical moves"))
        figure.suptitle(say("数据意外与金价反应：", "Surprise and reaction: ") + _strength(r, len(points), say))
        note = say("同一分钟公布的多项数据共享同一反应", "figures released in one minute share one reaction")
        if unnatural_training:
            note += say("；训练集经过均衡/抽样", "; the training rows are balanced or sampled")
        axes.set_title(note, loc="left", fontsize=8, color="#666666")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        save_png(figure, path)


def _strength(r: float | None, n: int, say: Words) -> str:
    if r is None:
        return say(f"n = {n}，太少，不算相关系数", f"n = {n}, too few for a correlation")
    text = f"r = {r:+.2f}，n = {n}" if say.chinese else f"r = {r:+.2f}, n = {n}"
    if interval := correlation_interval(r, n):
        low, high = interval
        text += say(f"（95% 区间 {low:+.2f} 到 {high:+.2f}）", f" (95 % interval {low:+.2f} to {high:+.2f})")
    return text

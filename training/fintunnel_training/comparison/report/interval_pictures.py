"""Values and differences with their intervals, as points on a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fintunnel_training.comparison.report.findings import Findings
from fintunnel_training.comparison.report.picture_names import Cast
from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.report.verdicts import NO_GAIN
from fintunnel_training.comparison.result import MEASURES, ComparisonResult, Difference, Group, MeasureName
from fintunnel_training.dataset.looking.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_differences", "draw_measures", "draw_scales"]

_PANELS: tuple[tuple[Group, MeasureName], ...] = (
    ("impact", "auc"),
    ("impact", "macro_f1"),
    ("direction", "macro_f1"),
)
_VERDICTS = {
    "better": ("#0072b2", "o"),
    "worse": ("#d55e00", "X"),
    "none": ("#777777", "D"),
    "unknown": ("#777777", "d"),
}
_NOT_SHARES = {"characters", "milliseconds", "prompt_tokens", "completion_tokens", "requests_per_second"}


def draw_measures(result: ComparisonResult, parts: Cast, say: Say) -> Figure | None:
    """What the labels are judged by, of every system with its interval: a panel per measure."""
    findings = Findings(result)
    panels = []
    for group, name in _PANELS:
        values = [
            (s.name, e) for s in result.systems if (e := findings.estimate(group, name, s.name)) and e.value is not None
        ]
        if values:
            panels.append((group, name, values))
    if not panels:
        return None
    figure = new_figure(8.6, sum(0.75 + 0.3 * len(values) for _, _, values in panels) + 0.2)
    ratios = [0.75 + 0.3 * len(values) for _, _, values in panels]
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (group, name, values) in zip(all_axes, panels, strict=True):
        for y, (system, found) in enumerate(values):
            colour = parts.colours[system]
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [y, y], color=colour, linewidth=2.2, alpha=0.75)
            axes.plot([found.value], [y], marker=parts.markers[system], color=colour, markersize=7)
            axes.annotate(
                f"{found.value:.3f}", (found.value, y), (0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        axes.axvline(0.5 if name == "auc" else 1 / 3, color="0.6", linewidth=1, linestyle="--")
        chance = (
            say("（虚线：随机猜测）", " (dashed: guessing)")
            if name == "auc"
            else say("（虚线：三类均匀随机猜约 1/3）", " (dashed: guessing evenly, about 1/3)")
        )
        axes.set_title(say.measured(group, name) + chance, loc="left", fontsize=10)
        _by_line(axes, [parts.names[system] for system, _ in values])
    return figure


def draw_differences(result: ComparisonResult, parts: Cast, say: Say) -> Figure | None:
    """A forest of differences: one panel against the base, one against the best baseline."""
    shown = [d for d in result.differences if d.value is not None and d.name not in _NOT_SHARES]
    against = [
        (title, [d for d in shown if d.against == kind])
        for kind, title in (
            ("base", say("减去微调前", "minus the base")),
            ("best_baseline", say("减去最好的基线", "minus the best baseline")),
        )
    ]
    against = [(title, found) for title, found in against if found]
    if not against:
        return None
    ratios = [0.9 + 0.25 * len(found) for _, found in against]
    figure = new_figure(8.6, sum(ratios) + 0.5)
    several = len({d.first for d in shown}) > 1
    all_axes = figure.subplots(len(against), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (title, found) in zip(all_axes, against, strict=True):
        for y, one in enumerate(found):
            colour, marker = _VERDICTS[one.verdict]
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [y, y], color=colour, linewidth=2.2, alpha=0.8)
            axes.plot([one.value], [y], marker=marker, color=colour, markersize=6.5)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_title(title, loc="left", fontsize=10)
        _by_line(axes, [_line_name(one, parts, say, several) for one in found])
    _verdict_legend(figure, say, {d.verdict for d in shown})
    return figure


def _line_name(one: Difference, parts: Cast, say: Say, several: bool) -> str:
    lower = say("（越低越好）", " (lower is better)") if MEASURES[one.name] == "lower" else ""
    who = f"{parts.names.get(one.first, '')}  " if several else ""
    return f"{who}{say.measured(one.group, one.name)}{lower}"


def _verdict_legend(figure: Figure, say: Say, verdicts: set[str]) -> None:
    from matplotlib.lines import Line2D

    no_gain = say(f"区间含 0：分不出高下 / {NO_GAIN[0]}", f"contains zero: cannot be told apart / {NO_GAIN[1]}")
    words = {
        "better": say("测得更好", "measurably better"),
        "worse": say("测得更差", "measurably worse"),
        "none": no_gain,
        "unknown": say("给不出区间", "no interval"),
    }
    handles = [
        Line2D([], [], color=_VERDICTS[verdict][0], marker=_VERDICTS[verdict][1], linewidth=2, label=text)
        for verdict, text in words.items()
        if verdict in verdicts
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def draw_scales(result: ComparisonResult, parts: Cast, say: Say) -> Figure | None:
    """The mean of each scale, 1 to 5, of the two that people saw."""
    people = result.people
    if people is None or not any(found.value is not None for by in people.scales.values() for found in by.values()):
        return None
    figure = new_figure(7.2, 1.1 + 0.62 * len(people.scales))
    axes = figure.add_subplot()
    systems = list(dict.fromkeys(system for by_system in people.scales.values() for system in by_system))
    for y, by_system in enumerate(people.scales.values()):
        for number, system in enumerate(systems):
            found = by_system.get(system)
            if found is None or found.value is None:
                continue
            at = y + 0.24 * (number - (len(systems) - 1) / 2)
            colour = parts.colours.get(system, "black")
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [at, at], color=colour, linewidth=2.2, alpha=0.75)
            label = parts.names.get(system, "?") if y == 0 else None
            marker = parts.markers.get(system, "o")
            axes.plot([found.value], [at], marker=marker, color=colour, markersize=7, linestyle="", label=label)
            axes.annotate(
                f"{found.value:.2f}", (found.value, at), (0, 5), textcoords="offset points", ha="center", fontsize=8
            )
    axes.set_xlim(0.9, 5.1)
    _by_line(axes, [say.scale(parts.scales[scale]) for scale in people.scales])
    axes.set_xlabel(say("平均分（1 到 5）", "mean (1 to 5)"))
    figure.legend(loc="outside lower center", ncols=len(systems), frameon=False, fontsize=9)
    return figure


def _by_line(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.75)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)

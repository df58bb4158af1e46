"""Every picture of the report, as PNG bytes by what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from fintunnel.wire import DIRECTIONS, IMPACTS

from fintunnel_training.comparison.report.baseline_names import with_baseline_names
from fintunnel_training.comparison.report.interval_pictures import draw_differences, draw_measures, draw_scales
from fintunnel_training.comparison.report.picture_names import Cast, cast
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.result import ComparisonResult, FieldName, Reliability
from fintunnel_training.dataset.looking.drawing import Words, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Pictures", "draw_pictures", "loss_curve_name"]

_FIELDS: tuple[FieldName, ...] = ("impact", "direction")
_COLUMNS = 3
_PNG = b"\x89PNG\r\n\x1a\n"


class Pictures(NamedTuple):
    """`png`: by what they show (`reliability_impact`, `differences`, `loss_curve_…`); `renamed`: by picture, the
    systems in it whose names the fonts here cannot draw, and what it calls them; `loss_curves`: picture by system."""

    png: dict[str, bytes]
    renamed: dict[str, dict[str, str]]
    loss_curves: dict[str, str]


def draw_pictures(result: ComparisonResult, language: Language, loss_curves: Mapping[str, bytes]) -> Pictures:
    """What has nothing to show is left out, and so is a loss curve that is no PNG."""
    with Words(language) as words:
        say = Say("zh" if words.chinese else "en")
        result = with_baseline_names(result, say)
        parts = cast(result, words)
        figures = {
            "measures": draw_measures(result, parts, say),
            "differences": draw_differences(result, parts, say),
            **{f"reliability_{field}": _reliability(result, field, parts, say) for field in _FIELDS},
            **{f"confusion_{field}": _confusion(result, field, parts, say) for field in _FIELDS},
            "people_scales": draw_scales(result, parts, say),
        }
        png = {name: _png(figure) for name, figure in figures.items() if figure is not None}
    curves: dict[str, str] = {}
    for system, content in loss_curves.items():
        if content.startswith(_PNG):
            name = loss_curve_name(system, png)
            png[name], curves[system] = content, name
    return Pictures(png, _captions(result, parts), curves)


def _captions(result: ComparisonResult, parts: Cast) -> dict[str, dict[str, str]]:
    shown: dict[str, set[str]] = {
        "measures": {system for measure in result.measures for system in measure.systems},
        "differences": {found.first for found in result.differences},
        "people_scales": {result.people.first, result.people.second} if result.people else set(),
    }
    for field in _FIELDS:
        shown[f"reliability_{field}"] = {one.system for one in result.reliability if one.field == field}
        shown[f"confusion_{field}"] = {one.system for one in result.confusion if one.field == field}
    return {
        picture: {name: called for name, called in parts.renamed.items() if name in systems}
        for picture, systems in shown.items()
    }


def loss_curve_name(system: str, taken: Mapping[str, bytes]) -> str:
    """A file name on every system that no other picture has, Windows' folded case included."""
    name = "loss_curve_" + (re.sub(r"[^\w-]+", "_", system)[:40].strip("_") or "adapter")
    used = {each.casefold() for each in taken}
    return next(each for each in _numbered(name) if each.casefold() not in used)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, dpi=140, format="png")
    return content.getvalue()


# --- how sure, and how often right ------------------------------------------------------------------------


def _reliability(result: ComparisonResult, field: FieldName, parts: Cast, say: Say) -> Figure | None:
    """A panel per system: points below the diagonal are answers that were too sure."""
    shown = [one for one in result.reliability if one.field == field and one.confidence]
    if not shown:
        return None
    figure, panels = _panels(len(shown), 3.3, 3.4)
    for axes, one in zip(panels, shown, strict=True):
        rows = _rows_of(result, one)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        axes.scatter(
            one.confidence,
            one.accuracy,
            s=34,
            color=parts.colours.get(one.system, "black"),
            marker=parts.markers.get(one.system, "o"),
            zorder=3,
        )
        axes.set(xlim=(0.25, 1.02), ylim=(-0.03, 1.03), xlabel=say("模型的把握", "confidence"))
        axes.set_ylabel(say("猜对的比例", "share right"))
        each = f"{rows / len(one.confidence):.0f}" if rows else "?"
        bins = say(f"每点约 {each} 条", f"about {each} rows a point")
        chance = ""
        if one.chance is not None:
            chance = say(f"（只凭偶然 ≤ {one.chance[1]:.3f}）", f" (chance alone ≤ {one.chance[1]:.3f})")
        name = parts.names.get(one.system, "?")
        axes.set_title(f"{name}\nECE {one.ece:.3f}{chance}\n{bins}", fontsize=9.5)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _rows_of(result: ComparisonResult, one: Reliability) -> int:
    for measure in result.measures:
        if measure.group == one.field and measure.name == "ece" and one.system in measure.systems:
            return measure.systems[one.system].rows
    return 0


# --- what was taken for what ------------------------------------------------------------------------------


def _confusion(result: ComparisonResult, field: FieldName, parts: Cast, say: Say) -> Figure | None:
    """A matrix per system; the colour is the share of the true class, the text the count."""
    shown = [one for one in result.confusion if one.field == field and any(map(sum, one.counts))]
    if not shown:
        return None
    figure, panels = _panels(len(shown), 3.1, 3.0)
    known = {*IMPACTS, *DIRECTIONS}
    for axes, one in zip(panels, shown, strict=True):
        shares = [[count / max(sum(row), 1) for count in row] for row in one.counts]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [say.label(name) if name in known else name for name in one.classes]
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel=say("判断为", "answered"), ylabel=say("真实", "true"))
        axes.set_title(parts.names.get(one.system, "?"), fontsize=9.5)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                colour = "white" if share > 0.6 else "black"
                text = f"{one.counts[i][j]}\n{share * 100:.0f}%"
                axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
    return figure


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(_COLUMNS, count) if count != 4 else 2
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows)
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]

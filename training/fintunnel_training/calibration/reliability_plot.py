"""`calibration.png`: how often the likeliest class is right against how sure the model says it is, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fintunnel_training.calibration.calibration_file import Condition, FieldName
from fintunnel_training.calibration.fields import Judged
from fintunnel_training.evaluation.reliability import reliability

__all__ = ["PICTURE", "plot_reliability"]

PICTURE = "calibration.png"
_CONDITIONS = {"with_context": ("有上下文", "with context"), "without_context": ("无上下文", "without context")}
_FIELDS = {"impact": ("影响程度", "impact"), "direction": ("短线方向", "direction")}


def plot_reliability(fields: Mapping[FieldName, Mapping[Condition, Judged]], path: Path) -> None:
    """One panel per field and condition; "after" is on days that the fit had not seen."""
    from fintunnel_training.dataset.looking.drawing import Words, new_figure, save_png

    panels = [(name, condition, one) for name, parts in fields.items() for condition, one in parts.items()]
    columns = 3
    rows = -(-len(panels) // columns)
    with Words() as say:
        figure = new_figure(3.6 * columns, 3.6 * rows)
        for number, (name, condition, one) in enumerate(panels, 1):
            axes = figure.add_subplot(rows, columns, number)
            axes.plot([0, 1], [0, 1], color="0.75", linewidth=1)
            for probabilities, words, colour, marker in (
                (one.raw, ("校准前", "before"), "tab:gray", "o"),
                (one.after, ("校准后", "after"), "tab:blue", "s"),
            ):
                confidence, accuracy, _ = reliability(probabilities, one.labels)
                # Points alone: a line through bins of a few rows each would draw their noise.
                axes.scatter(confidence, accuracy, s=22, c=colour, marker=marker, alpha=0.7, label=say(*words))
            title = say(*_FIELDS[name]) if name in _FIELDS else say.label(name)
            axes.set_title(f"{title} · {say(*_CONDITIONS[condition])}", fontsize=10)
            axes.set_xlabel(say("模型的把握", "confidence"))
            axes.set_ylabel(say("猜对的比例", "accuracy"))
            axes.set_xlim(float(np.floor(10 / one.raw.shape[1]) / 10), 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.legend(fontsize=8, loc="best")
        figure.suptitle(
            say(
                "离对角线越近越好：每个点是把握相近的一组新闻（校准后：拟合时没见过的那些天）",
                "Nearer to the diagonal is better: a point is a group of news of like confidence (after: unseen days)",
            ),
            fontsize=10,
        )
        save_png(figure, path)

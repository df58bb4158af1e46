"""What `fintunnel calibrate` says on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from fintunnel.chinese import LABELS_ZH

from fintunnel_training.calibration.calibration_file import CALIBRATION, Calibration, Condition, FieldFit, FieldName
from fintunnel_training.calibration.reliability_plot import PICTURE
from fintunnel_training.evaluation.reliability import BINS

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["show", "summary", "table"]

_FEW_IN_A_BIN = 20
_FIELDS: dict[FieldName, str] = {
    "impact": "影响程度",
    "direction": "短线方向",
    "priced_in": LABELS_ZH["priced_in"],
    "wait_and_see": LABELS_ZH["wait_and_see"],
}
_CONDITIONS: dict[Condition, str] = {"with_context": "有上下文", "without_context": "无上下文"}


def show(calibration: Calibration, adapter: Path) -> None:
    """Print what was fitted, what it changes, and where it lies."""
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(table(calibration))
    typer.echo(summary(calibration))
    typer.echo(f"写好：{adapter / CALIBRATION}；前后对比图 {adapter / PICTURE}")


def table(calibration: Calibration) -> Table:
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("字段", "条件"):
        drawn.add_column(name)
    for name in ("行数", "NLL", "ECE", "温度"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for field, condition, fit in _fits(calibration):
        drawn.add_row(
            _FIELDS[field],
            _CONDITIONS[condition],
            str(fit.rows),
            f"{fit.nll_before:.4f} → {fit.nll_after:.4f}",
            f"{fit.ece_before:.3f} → {fit.ece_after:.3f}",
            "不变" if fit.is_identity else f"{fit.temperature:.2f}",
        )
    return drawn


def summary(calibration: Calibration) -> str:
    """In plain words what was gained and what was not."""
    fits = list(_fits(calibration))
    said = ["NLL（负对数似然）和 ECE（校准误差）越小越好，都按天交叉验证：拟合时没有见过被评的那些天。"]
    if min(fit.rows for _, _, fit in fits) < _FEW_IN_A_BIN * BINS:
        said.append(f"有的条件不足 {_FEW_IN_A_BIN * BINS} 行：ECE 的每一组不到 {_FEW_IN_A_BIN} 条，只能粗看。")
    unchanged = [f"{_FIELDS[field]}（{_CONDITIONS[condition]}）" for field, condition, fit in fits if fit.is_identity]
    if len(unchanged) == len(fits):
        said.append("校准没有带来任何改善，概率保持原样。")
    elif unchanged:
        said.append(f"没有改善、保持原样的：{'、'.join(unchanged)}。")
    return "\n".join(said)


def _fits(calibration: Calibration) -> Iterator[tuple[FieldName, Condition, FieldFit]]:
    for field, parts in calibration.fields.items():
        for condition, fit in parts.items():
            yield field, condition, fit

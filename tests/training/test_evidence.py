from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.qlora.evidence import plot_loss


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[list[float], list[float]]]:
    """Lines of the last picture by the beginning of their names."""
    from matplotlib.figure import Figure

    lines: dict[str, tuple[list[float], list[float]]] = {}
    save = Figure.savefig

    def look(self: Any, *arguments: Any, **options: Any) -> None:
        lines.clear()
        for line in self.axes[0].lines:
            lines[" ".join(line.get_label().split()[:2])] = (list(line.get_xdata()), list(line.get_ydata()))
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", look)
    return lines


def history(steps: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": float(steps - step)} for step in range(1, steps + 1)]


def test_the_curve_shows_losses_their_mean_and_evaluations(
    drawn: dict[str, tuple[list[float], list[float]]], tmp_path: Path
) -> None:
    plot_loss([*history(10), {"step": 10, "eval_loss": 3.0}], tmp_path / "curve.partial")
    assert drawn["loss per"] == (list(range(1, 11)), [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    assert drawn["mean of"] == ([5, 6, 7, 8, 9, 10], [7.0, 6.0, 5.0, 4.0, 3.0, 2.0])  # from the fifth step on
    assert drawn["validation"] == ([10], [3.0])
    assert (tmp_path / "curve.partial").read_bytes().startswith(b"\x89PNG")


def test_the_first_steps_have_no_mean(drawn: dict[str, tuple[list[float], list[float]]], tmp_path: Path) -> None:
    for steps in (1, 9):
        plot_loss(history(steps), tmp_path / "curve.png")
        assert set(drawn) == {"loss per"}

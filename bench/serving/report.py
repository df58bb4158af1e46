"""The tables, and what they say about the bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.serving.measure import Cell
from bench.serving.peers import Mode

__all__ = ["bars", "row", "table"]

OURS = "fintunnel"
_ONE_FORM = "naive"
# mode, callers, against whom, and how many times as many requests a second
BARS: tuple[tuple[Mode, int, str, float], ...] = (
    ("full", 16, "naive", 6.0),
    ("full", 16, "transformers", 2.0),
    ("full", 16, "vllm", 1.0),
    ("full", 1, "vllm", 1.0),
    ("labels", 16, "vllm", 1.0),
    ("labels", 16, "transformers", 2.0),
)
_TITLES: dict[Mode, str] = {"full": "full answers: both labels and a rationale", "labels": "labels alone"}
_HEAD = (
    "                     callers  requests/s  tokens/s  first token s  rationale s    p50 s    p90 s    p99 s"
    "  peak MB  GPU MB  tokens  valid  answers"
)


def table(cells: Sequence[Cell], mode: Mode) -> str:
    """`tokens/s` and `tokens` (mean of an answer) are of the rationale, `rationale s` the time to its first token."""
    rows = [row(cell) for cell in cells if cell.mode == mode]
    return "\n".join([_TITLES[mode], _HEAD, *rows])


def row(cell: Cell) -> str:
    tokens_per_second = cell.per_second * cell.rationale_tokens
    return (
        f"{cell.peer:19}  {cell.callers:7}  {cell.per_second:10.2f}  {_shown(tokens_per_second, 8, 1)}"
        f"  {_shown(cell.first, 13, 2)}  {_shown(cell.first_rationale, 11, 2)}"
        f"  {cell.p50:7.2f}  {cell.p90:7.2f}  {cell.p99:7.2f}  {cell.peak_bytes / 1e6:7.0f}"
        f"  {_shown(cell.peak_gpu_bytes / 1e6, 6, 0)}  {_shown(cell.rationale_tokens, 6, 1)}"
        f"  {100 * cell.valid:4.0f}%  {cell.answers:7}"
    )


def _shown(value: float, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) or value == 0 else f"{value:{width}.{digits}f}"


def bars(cells: Sequence[Cell]) -> list[str]:
    """A line for each bar whose two sides were measured. Where our rationales are the shorter ones, our rate counts as
    that much less; where the other's are, nothing is added to ours."""
    measured = {(cell.peer, cell.mode, cell.callers): cell for cell in cells}
    lines = []
    for mode, callers, against, bar in BARS:
        for form in ("", "-merged"):
            ours = measured.get((OURS + form, mode, callers))
            theirs = measured.get((against if against == _ONE_FORM else against + form, mode, callers))
            if ours is None or theirs is None:
                continue
            ratio = ours.per_second / theirs.per_second
            if mode == "full" and ours.rationale_tokens < theirs.rationale_tokens:
                ratio *= ours.rationale_tokens / theirs.rationale_tokens
            verdict = "met" if ratio >= bar else "NOT met"
            pair = f"{ours.peer} / {theirs.peer}"
            lines.append(f"{mode}, {callers} callers: {pair}: {ratio:.2f}  (bar: {bar:.1f}: {verdict})")
    return lines

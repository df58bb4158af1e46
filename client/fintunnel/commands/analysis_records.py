"""Analyses for programs: CSV and lines of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from fintunnel.commands.analysis_views import Row
from fintunnel.errors import FinTunnelError
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS, NewsAnalysis

__all__ = ["csv_table", "json_lines"]

_COLUMNS = [
    *["text", "impact", *(f"impact_{name}" for name in IMPACTS)],
    *["direction", *(f"direction_{name}" for name in DIRECTIONS)],
    *["signals", *SIGNALS, "rationale", "backend", "base", "adapter", "fallback", "error"],
]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def json_lines(rows: Sequence[Row]) -> str:
    """An object a line: `text`, and `analysis` or `error`."""
    return "".join(f"{json.dumps(_object(row), ensure_ascii=False)}\n" for row in rows)


def csv_table(rows: Sequence[Row]) -> str:
    """For Excel: no cell that it would take for a formula. Probabilities are fractions."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(_COLUMNS)
    for row in rows:
        cells = _cells(row)
        writer.writerow([_cell(cells.get(name)) for name in _COLUMNS])
    return written.getvalue()


def _object(row: Row) -> dict[str, Any]:
    if not isinstance(row.result, FinTunnelError):
        return {"text": row.text, "analysis": row.result.model_dump(mode="json")}
    error = row.result
    fields = {"kind": type(error).__name__, "message": str(error), "status": error.status, "code": error.code}
    return {"text": row.text, "error": fields | {"request_id": error.request_id}}


def _cells(row: Row) -> dict[str, Any]:
    if isinstance(row.result, FinTunnelError):
        return {"text": row.text, "error": str(row.result)}
    analysis: NewsAnalysis = row.result
    model = analysis.model
    return {
        "text": row.text,
        "impact": analysis.impact,
        **{f"impact_{name}": probability for name, probability in (analysis.impact_probs or {}).items()},
        "direction": analysis.direction,
        **{f"direction_{name}": probability for name, probability in (analysis.direction_probs or {}).items()},
        "signals": " ".join(analysis.signals or []),
        **{str(name): probability for name, probability in (analysis.signal_probs or {}).items()},
        "rationale": analysis.rationale,
        "backend": model.backend,
        "base": model.base,
        "adapter": model.adapter,
        "fallback": model.fallback,
    }


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.startswith(_FORMULA) else value

"""Rows of a validation file as `dataset build` writes them, and an adapter folder that goes with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import Edges
from fintunnel_training.calibration.calibration_file import FieldFit

THREE = ("low", "medium", "high")
EDGES = Edges(
    impact=(1, 2),
    direction=(-0.5, 0.5),
    priced_in_pre_return=0.002,
    wait_and_see_volatility=0.002,
    wait_and_see_pre_return=0.0005,
)
Change = Callable[[int, dict[str, Any]], None]


def row(number: int) -> dict[str, Any]:
    """A news row as `dataset build` writes it; every fourth has no context, and "high" is what mostly happened."""
    at = datetime(2025, 9, 1, 2, tzinfo=UTC) + timedelta(hours=5 * number)
    request: dict[str, Any] = {"text": f"第{number}条消息", "published_at": at.isoformat(), "task": "news"}
    signals = None
    if number % 4:
        request["context"] = {"pre_return": 0.001, "volatility": 0.002, "typical_move": 0.0005}
        signals = {"priced_in": number % 9 == 0, "wait_and_see": False}
    labels = {"impact": "high" if number % 5 else "low", "direction": "neutral", "signals": signals}
    meta = {
        "kind": "news",
        "style": "json",
        "split": "val",
        "prompt_version": PROMPT_VERSION,
        "horizon_min": 15,
        "request": request,
        "labels": labels,
    }
    return {"instruction": "分析", "input": request["text"], "output": "{}", "meta": meta}


def write_rows(folder: Path, count: int = 48, change: Change | None = None) -> Path:
    rows = [row(number) for number in range(count)]
    for number, one in enumerate(rows):
        if change is not None:
            change(number, one)
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in rows]
    (folder / "i.val.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "i.jsonl"


def fit(temperature: float = 1.0, biases: dict[str, float] | None = None) -> FieldFit:
    return FieldFit(
        temperature=temperature,
        biases=biases or dict.fromkeys(THREE, 0.0),
        rows=50,
        nll_before=1,
        nll_after=1,
        brier_before=1,
        brier_after=1,
        ece_before=0,
        ece_after=0,
    )

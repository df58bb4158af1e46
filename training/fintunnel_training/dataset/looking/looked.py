"""Reads instruction files to look at, ours or anybody's: what is no row is counted, not refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fintunnel.prompt import BEIJING

from fintunnel_training.dataset.checks.checked_rows import read_rows as read_checked
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import SPLITS, card_path, split_paths

__all__ = [
    "OTHER",
    "Looked",
    "Row",
    "event_key",
    "labels_of",
    "named",
    "published_at",
    "read_rows",
    "read_splits",
    "request_of",
]

OTHER = "other"  # kind or style of a row that names none

Row = dict[str, Any]


@dataclass(frozen=True)
class Looked:
    """The rows of each split that is there, the lines that are no rows, and the card (empty where there is none)."""

    paths: dict[str, Path]
    rows: dict[str, list[Row]]
    bad_lines: dict[str, int]
    card: dict[str, Any]

    def all_rows(self) -> list[Row]:
        return [row for rows in self.rows.values() for row in rows]


def read_rows(path: Path) -> tuple[list[Row], int]:
    """The rows of a JSONL file, each with text `instruction`, `input`, `output` and a dict `meta`, and how many
    lines are no rows.

    Raises:
        DataError: the file cannot be read, or has not one row.
    """
    file = read_checked(path, "")
    if not file.rows:
        raise DataError(
            f"{path} 的 {file.lines} 行都不是带 instruction 和 output 的 JSON，没有可看的数据。"
            "请用 fintunnel dataset build 生成，或用 fintunnel dataset check 看每一行的问题。"
        )
    rows = [
        {"instruction": each.row.instruction, "input": each.row.input, "output": each.row.output, "meta": each.meta}
        for each in file.rows
    ]
    return rows, len(file.malformed) + len(file.other_format)


def read_splits(path: Path) -> Looked:
    """`X.jsonl` with `X.val.jsonl` and `X.test.jsonl`, those that are there, and the card beside it.

    Raises:
        DataError: `X.jsonl` itself cannot be used, or another split is there and cannot be.
    """
    own = next((split for split in SPLITS[1:] if path.name.endswith(f".{split}.jsonl")), None)
    paths = {own: path} if own else split_paths(path)
    paths = {split: place for split, place in paths.items() if place == path or place.exists()}
    rows: dict[str, list[Row]] = {}
    bad: dict[str, int] = {}
    for split, place in paths.items():
        if place != path and place.is_file() and not place.stat().st_size:
            rows[split], bad[split] = [], 0  # a database that is too short leaves an evaluation split empty
        else:
            rows[split], bad[split] = read_rows(place)
    return Looked(paths, rows, bad, _card(path))


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(card_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # the card adds remarks; the figures come from the rows
    return card if isinstance(card, dict) else {}


# --- what a row says of itself ------------------------------------------------------------------------


def labels_of(row: Row) -> dict[str, Any]:
    """`impact`, `direction` and `signals` from `meta`, else from an answer in JSON; empty where there are none."""
    labels = row["meta"].get("labels")
    if not isinstance(labels, dict):
        try:
            labels = json.loads(row["output"])
        except (ValueError, RecursionError):
            return {}
    return labels if isinstance(labels, dict) and (labels.keys() & {"impact", "direction"}) else {}


def published_at(row: Row) -> datetime | None:
    """When the news came out, in Beijing time."""
    value = request_of(row).get("published_at")
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if at is None else at.astimezone(BEIJING) if at.tzinfo else at.replace(tzinfo=BEIJING)
    except (ValueError, OverflowError):
        return None


def event_key(row: Row) -> str | None:
    """What rows about the same event share; None where a row is about no event."""
    event = row["meta"].get("event_id")
    return event if isinstance(event, str) else None


def request_of(row: Row) -> dict[str, Any]:
    request = row["meta"].get("request")
    return request if isinstance(request, dict) else {}


def named(row: Row, field: str) -> str:
    value = row["meta"].get(field)
    return value if isinstance(value, str) and value else OTHER

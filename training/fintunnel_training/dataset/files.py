"""Writes a dataset: the three splits and the card, each complete under its own name or not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fintunnel_training.atomic_files import replacing
from fintunnel_training.dataset.build import Dataset
from fintunnel_training.dataset.card_markdown import card_markdown
from fintunnel_training.dataset.rows import Row
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import card_path, split_paths

__all__ = ["output_paths", "write_card", "write_dataset"]


def output_paths(out: Path) -> list[Path]:
    """Every file that `write_dataset` writes for `out`.

    Raises:
        DataError: `out` is no file name.
    """
    if not out.name or out.is_dir():
        raise DataError(f"--out 应是一个文件名（X.jsonl），不是 {out}")
    return [*split_paths(out).values(), card_path(out), out.with_suffix(".card.md")]


def write_dataset(dataset: Dataset, out: Path, *, source_sha256: str | None) -> list[Path]:
    """Write the three splits and the card; every file is complete under its own name or not there.

    Args:
        source_sha256: of the database file; None where the rows come from a server.

    Returns:
        the paths written.
    """
    paths = output_paths(out)
    with replacing(paths) as partial:
        hashes = {
            path.name: _write_rows(partial[path], dataset.rows[split]) for split, path in split_paths(out).items()
        }
        card = dataset.card | {"source_sha256": source_sha256, "files_sha256": hashes}
        write_card(card, partial[card_path(out)], partial[out.with_suffix(".card.md")])
    return paths


def write_card(card: dict[str, Any], json_path: Path, markdown_path: Path) -> None:
    json_path.write_text(json.dumps(card, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
    markdown_path.write_text(card_markdown(card), encoding="utf-8", newline="\n")


def _write_rows(path: Path, rows: Iterable[Row]) -> str:
    """Write one JSON object a line; returns the file's SHA-256."""
    digest = hashlib.sha256()
    encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make an encoder a row
    with path.open("wb") as file:
        for row in rows:
            line = (encode(row) + "\n").encode()
            digest.update(line)
            file.write(line)
    return digest.hexdigest()

"""Writes a dataset: the three splits and the card, each complete under its own name or not there."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from fintunnel_training.dataset.build import Dataset
from fintunnel_training.dataset.card import card_markdown
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import card_path, split_paths

__all__ = ["output_paths", "write_dataset"]


def output_paths(out: Path) -> list[Path]:
    """Every file that `write_dataset` writes for `out`.

    Raises:
        DataError: `out` is no file name.
    """
    if not out.name or out.is_dir():
        raise DataError(f"--out 应是一个文件名（X.jsonl），不是 {out}")
    return [*split_paths(out).values(), card_path(out), out.with_suffix(".card.md")]


def write_dataset(dataset: Dataset, out: Path, *, source_sha256: str) -> list[Path]:
    """Write the three splits and the card; every file is complete under its own name or not there.

    Returns:
        the paths written.
    """
    for path in output_paths(out):
        if path.exists() and not path.is_file():
            raise DataError(f"无法写入 {path}：那里已有一个不是普通文件的东西")
    contents: dict[Path, str] = {}
    hashes = {}
    for split, path in split_paths(out).items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in dataset.rows[split])
        contents[path] = text
        hashes[path.name] = hashlib.sha256(text.encode()).hexdigest()
    card = dataset.card | {"source_sha256": source_sha256, "files_sha256": hashes}
    contents[card_path(out)] = json.dumps(card, ensure_ascii=False, indent=2) + "\n"
    contents[out.with_suffix(".card.md")] = card_markdown(card)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path, text in contents.items():
            _partial(path).write_text(text, encoding="utf-8", newline="\n")
        for path in contents:
            os.replace(_partial(path), path)
    except OSError as error:
        raise DataError(f"无法写入 {out}：{error.strerror}") from error
    finally:
        for path in contents:
            with suppress(OSError):
                _partial(path).unlink(missing_ok=True)
    return list(contents)


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.partial")

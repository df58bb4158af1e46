"""`fintunnel_export.json`: marks a merged folder as ours and says what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fintunnel.atomic_file import replacing_file
from fintunnel.terminal_text import system_reason
from pydantic import BaseModel, ConfigDict, ValidationError

from fintunnel_training.adapter import BaseInfo
from fintunnel_training.atomic_files import restore_folder
from fintunnel_training.errors import TrainingError

__all__ = ["RECORD", "ExportRecord", "Verification", "check_place", "read_record", "write_record"]

RECORD = "fintunnel_export.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verification(_Record):
    """How far the merged model answers like base + adapter on the same rows, both in 16 bits.

    `largest_difference` is of a probability of any impact or direction class.
    """

    data: str
    rows: int
    impact_differs: int
    direction_differs: int
    largest_difference: float


class ExportRecord(_Record):
    """`files`: SHA-256 by name of all other files in the folder."""

    format_version: Literal[1] = 1
    adapter: str
    adapter_manifest_sha256: str
    adapter_weights_sha256: str
    base: BaseInfo
    dtype: str
    versions: dict[str, str]
    files: dict[str, str]
    verification: Verification | None = None


def read_record(folder: Path) -> ExportRecord | None:
    """The record of a merged folder; None where there is none, or one that nobody can read."""
    try:
        return ExportRecord.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def write_record(folder: Path, record: ExportRecord) -> None:
    """Write or replace the record in one step."""
    try:
        with replacing_file(folder / RECORD) as partial:
            partial.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"无法写入 {folder / RECORD}：{system_reason(error)}") from error


def check_place(folder: Path) -> None:
    """Raise TrainingError unless `folder` is free, or holds an earlier export and nothing else."""
    restore_folder(folder.resolve(), lambda left: read_record(left) is not None)
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"--merged {folder} 是一个文件，请换一个目录")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    record = read_record(folder)
    if record is None:
        raise TrainingError(f"--merged {folder} 不是空目录，也不是以前导出的模型。为免覆盖里面的文件，请换一个目录。")
    others = sorted(path.name for path in folder.iterdir() if path.name not in {RECORD, *record.files})
    if others:
        raise TrainingError(f"--merged {folder} 里还有别的文件（{'、'.join(others[:3])}），请移走，或换一个目录。")

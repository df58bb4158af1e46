"""Checkpoints that are complete or invisible: written aside, hashed file by file, renamed in one step.

The trainer writes adapter, optimizer, scheduler, random states and its own state one after the other; killed in
between it leaves a folder that looks like a checkpoint and is none. Here a checkpoint counts only under its final
name and with a record whose hashes hold.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fintunnel.atomic_file import rename
from fintunnel.terminal_text import system_reason
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fintunnel_training.adapter import ADAPTER_WEIGHTS, file_sha256
from fintunnel_training.errors import TrainingError

__all__ = [
    "KEEP",
    "Best",
    "Checkpoint",
    "Record",
    "copy_checkpoint",
    "find_checkpoints",
    "keep_newest",
    "remove_checkpoints",
    "seal",
    "writing_checkpoint",
]

KEEP = 2  # a second one, in case the newest turns out to be damaged
RECORD = "checkpoint.json"
_NEEDED = (ADAPTER_WEIGHTS, "optimizer.pt", "scheduler.pt", "trainer_state.json")
_NAME = re.compile(r"checkpoint-(\d+)")


class Best(BaseModel):
    """The best adapter so far, which lies in the checkpoint as `best_adapter.safetensors`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    eval_loss: float
    worse_since: int = 0
    """evaluations since then without a better one"""


class Record(BaseModel):
    """What a checkpoint says of itself. `identity`: what must be the same to go on from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    step: int = Field(ge=1)
    identity: dict[str, Any]
    batch_size: int = Field(ge=1)
    accumulation: int = Field(ge=1)
    seconds: float = Field(ge=0)
    """of training up to here, over all its parts"""
    peak_memory_gib: float = Field(0.0, ge=0)
    """the largest of all its parts"""
    best: Best | None = None
    events: list[dict[str, Any]] = []
    """what happened on the way: resumed, out of memory"""
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    record: Record

    @property
    def step(self) -> int:
        return self.record.step


def seal(written: Path, into: Path, record: Record) -> Checkpoint:
    """Make the folder that the trainer has written a checkpoint in `into`.

    Raises:
        TrainingError: a file that resuming needs is not there.
    """
    missing = [name for name in _NEEDED if not (written / name).is_file()]
    if not any(written.glob("rng_state*.pth")):
        missing.append("rng_state.pth")
    if missing:
        raise TrainingError(f"检查点 {written.name} 没有写全：缺少 {'、'.join(missing)}")
    files = {path.name: file_sha256(path) for path in sorted(written.iterdir()) if path.is_file()}
    record = record.model_copy(update={"files": files})
    (written / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for name in (*files, RECORD):
        _to_disk(written / name)
    return _put(written, into / f"checkpoint-{record.step}", record)


def copy_checkpoint(checkpoint: Checkpoint, into: Path) -> Checkpoint:
    """Copy a checkpoint to another place, which is made: under a temporary name, read back and compared, then renamed.

    Raises:
        OSError: either place cannot be used.
        TrainingError: what arrived is not what was sent.
    """
    into.mkdir(exist_ok=True)  # and nothing above it: a drive that is gone must not be taken for a folder
    partial = into / f".copying-{checkpoint.path.name}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        for name in (*checkpoint.record.files, RECORD):
            shutil.copyfile(checkpoint.path / name, partial / name)
            _to_disk(partial / name)
        fault = _fault(partial, checkpoint.record)
        if fault:
            raise TrainingError(f"复制到 {into} 的检查点不完整：{fault}")
        return _put(partial, into / checkpoint.path.name, checkpoint.record)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_checkpoints(*places: Path) -> tuple[list[Checkpoint], list[str]]:
    """The whole checkpoints in these folders, newest first, and of the others what is wrong with them."""
    found, faults = [], []
    for place in places:
        try:
            folders = [path for path in place.iterdir() if _NAME.fullmatch(path.name)] if place.is_dir() else []
        except OSError as error:
            faults.append(f"{place}：{system_reason(error)}")
            continue
        for path in folders:
            try:
                record = Record.model_validate_json((path / RECORD).read_text(encoding="utf-8"))
                fault = _fault(path, record)
            except (OSError, ValidationError, UnicodeDecodeError) as error:
                record, fault = None, f"{RECORD} 无法读取（{type(error).__name__}）"
            if record is not None and path.name != f"checkpoint-{record.step}":
                fault = fault or "目录名与步数不符"
            if record is None or fault:
                faults.append(f"{path}：{fault}")
            else:
                found.append(Checkpoint(path, record))
    # A stable sort: of two copies the one in the first place comes first.
    return sorted(found, key=lambda checkpoint: -checkpoint.step), faults


def keep_newest(place: Path, *stay: Path | None, keep: int = KEEP) -> None:
    """Remove all but the checkpoints of a place that were written last; those in `stay` stay whatever their age.

    By time, not by step: a run that went on from an older checkpoint counts on from there, while damaged ones with
    higher numbers still lie about. What cannot be removed now (a virus scanner holds it) is removed another time.
    """
    with suppress(OSError):
        folders = sorted((p for p in place.iterdir() if _NAME.fullmatch(p.name)), key=_written_at, reverse=True)
        for path in folders[keep:]:
            if path not in stay:
                _remove(path)
        for left in place.glob(".removing-checkpoint-*"):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def writing_checkpoint(step: int, place: Path) -> Iterator[None]:
    """Makes one clear error of whatever the libraries raise when a checkpoint cannot be written.

    Raises:
        TrainingError: says what to do; the checkpoints before are whole.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, TrainingError):
        raise
    except Exception as error:  # on a full disk torch raises RuntimeError, safetensors a bare Exception
        raise TrainingError(
            f"第 {step} 步的检查点没有写成：{system_reason(error)}。请清理 {place} 所在的磁盘"
            f"（可用 {shutil.disk_usage(place).free / 2**20:.0f} MiB），再运行同一条命令接着训练。"
        ) from error


def remove_checkpoints(place: Path, identity: dict[str, Any] | None = None) -> None:
    """Remove the checkpoints of a place (of one run, where its identity is given) and nothing else that lies there."""
    with suppress(OSError):
        for path in [path for path in place.iterdir() if _NAME.fullmatch(path.name)]:
            try:
                record = Record.model_validate_json((path / RECORD).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # nobody knows whose it is
            if identity is None or record.identity == identity:
                _remove(path)
        place.rmdir()  # where nothing is left


def _written_at(path: Path) -> float:
    try:
        return (path / RECORD).stat().st_mtime
    except OSError:
        return 0.0  # not even a record


def _fault(path: Path, record: Record) -> str:
    unlisted = [name for name in _NEEDED if name not in record.files]
    if unlisted or not any(name.startswith("rng_state") for name in record.files):
        return f"{RECORD} 没有列出 {'、'.join(unlisted) or 'rng_state.pth'}"
    for name, expected in record.files.items():
        file = path / name
        if Path(name).name != name or not file.is_file():
            return f"缺少 {name}"
        if file_sha256(file) != expected:
            return f"{name} 的内容与记录不符"
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        agrees = state["global_step"] == record.step <= state["max_steps"]
    except (ValueError, KeyError, TypeError):
        agrees = False
    return "" if agrees else "trainer_state.json 与记录的步数不符"


def _put(folder: Path, target: Path, record: Record) -> Checkpoint:
    if target.exists():  # an older run's, or a damaged one of the same step
        _remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    rename(folder, target)
    return Checkpoint(target, record)


def _remove(path: Path) -> None:
    """Out of sight first: a removal that is cut short must not leave half a checkpoint under its name."""
    doomed = path.with_name(f".removing-{path.name}-{os.getpid()}")
    rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())

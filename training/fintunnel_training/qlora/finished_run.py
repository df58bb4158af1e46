"""A run that is finished: whether it is, and its adapter's copy in the mirror."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from fintunnel.terminal_text import system_reason

from fintunnel_training.adapter import read_adapter
from fintunnel_training.atomic_files import replace_folder
from fintunnel_training.errors import AdapterError
from fintunnel_training.qlora.adapter_folder import put_in_place
from fintunnel_training.qlora.evidence import read_training_info
from fintunnel_training.qlora.run_folder import RunFolder

__all__ = ["copy_to_mirror", "place_finished_adapter"]

_MIRRORED = "adapter"


def place_finished_adapter(run: RunFolder, out: Path, identity: dict[str, Any], mirror: Path | None) -> bool:
    """Whether this very adapter lies at `out` now; one that is finished in the run folder or mirror is put there."""
    if _is_finished(run.adapter, identity):
        put_in_place(run.adapter, out)  # it could not be, at the end of its training
        is_mirrored = mirror is not None and _is_finished(mirror / _MIRRORED, identity)
        run.forget_checkpoints(mirror if is_mirrored else None, identity)
    if _is_finished(out, identity):
        return True
    if mirror is None or not _is_finished(mirror / _MIRRORED, identity):
        return False
    try:
        _copy_adapter(mirror / _MIRRORED, run.adapter)
    except (OSError, AdapterError) as error:
        _say(f"注意：取不回 {mirror / _MIRRORED}：{system_reason(error)}")
        return False
    put_in_place(run.adapter, out)
    _say(f"从 {mirror} 取回了训练好的适配器。")
    return True


def copy_to_mirror(folder: Path, mirror: Path) -> bool:
    """Keep a finished adapter beside the copies of its checkpoints, as `mirror/adapter`: the checkpoints go once it is
    there, and a runtime that is lost before somebody fetched it from `--out` would take it along.

    Returns:
        whether a whole copy lies there; what went wrong is said.
    """
    partial = mirror / f".{_MIRRORED}-copying"
    try:
        mirror.mkdir(exist_ok=True)  # and nothing above it: a drive that is gone must not be taken for a folder
        _copy_adapter(folder, partial)
        replace_folder(partial, mirror / _MIRRORED)
    except (OSError, AdapterError) as error:
        reason = system_reason(error)
        _say(f"注意：适配器没能复制到 {mirror}（{reason}），检查点的副本因此留在那里。")
        return False
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _copy_adapter(folder: Path, to: Path) -> None:
    """
    Raises:
        OSError: one of the two cannot be used.
        AdapterError: what arrived is not whole.
    """
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    read_adapter(to, allow_unverified=True)


def _is_finished(out: Path, identity: dict[str, Any]) -> bool:
    info = read_training_info(out)
    if info is None or info.identity != identity:
        return False
    try:
        return read_adapter(out, allow_unverified=True) is not None
    except AdapterError:
        return False


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")

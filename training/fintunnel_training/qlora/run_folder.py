"""The folder beside `--out` in which a run works: lock, checkpoints, live log and curve."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fintunnel.terminal_text import system_reason

from fintunnel_training.adapter import MANIFEST
from fintunnel_training.atomic_files import restore_folder
from fintunnel_training.errors import OptionError, TrainingError
from fintunnel_training.qlora.checkpoints import Checkpoint, copy_checkpoint, find_checkpoints, remove_checkpoints

__all__ = ["RunFolder", "check_mirror", "differences", "open_run_folder"]

_MARK = "fintunnel-run.json"
_LOCK = ".lock"
_LABELS = {
    "data_sha256": "训练数据",
    "eval_sha256": "验证数据",
    "base": "基座",
    "precision": "计算精度（由 GPU 的型号决定）",
    "rows_per_step": "每步的样本数（批大小 × 累积 × 进程数）",
}


class RunFolder:
    """`X-training/` beside the adapter folder `X`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(f"{out.name}-training")
        self.checkpoints = self.path / "checkpoints"
        self.writing = self.path / "writing"
        """where the trainer writes; whatever is here is unfinished"""
        self.adapter = self.path / "adapter"

    def start_from(self, identity: dict[str, Any], mirror: Path | None) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint of this very run, brought here if it lies in the mirror; and what is wrong with
        those that were passed over.

        Raises:
            OptionError: there are checkpoints, but all of another run: says what differs.
        """
        found, faults = find_checkpoints(self.checkpoints, *([mirror] if mirror else []))
        same = [checkpoint for checkpoint in found if checkpoint.record.identity == identity]
        if found and not same:
            raise OptionError(
                f"{found[0].path} 是另一次训练的检查点，不能接着训练。不同之处：\n"
                + "\n".join(f"  {line}" for line in differences(found[0].record.identity, identity))
                + "\n要接着训练，请恢复原来的数据和参数；要重新开始，请加 --resume never，或换一个 --out。"
            )
        for checkpoint in same:
            if checkpoint.path.parent == self.checkpoints:
                return checkpoint, faults
            try:
                return copy_checkpoint(checkpoint, self.checkpoints), faults
            except (OSError, TrainingError) as error:
                faults.append(f"{checkpoint.path}：{error}")
        return None, faults

    def forget_checkpoints(self, mirror: Path | None, identity: dict[str, Any]) -> None:
        """All of this folder's; of the mirror's, which may serve other runs too, those of this run."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        if mirror is not None:
            remove_checkpoints(mirror, identity)

    @property
    def has_checkpoints(self) -> bool:
        return self.checkpoints.is_dir() and any(self.checkpoints.glob("checkpoint-*"))

    @property
    def holds_work(self) -> bool:
        """Checkpoints, or a finished adapter that could not be put in its place."""
        return self.has_checkpoints or (self.adapter / MANIFEST).is_file()


@contextmanager
def open_run_folder(out: Path) -> Iterator[RunFolder]:
    """The run folder of `out`, held by this process alone. It goes when it
    holds nothing of worth at the end.

    Raises:
        TrainingError: `out` or the run folder is something else's, cannot be written, or another process trains there.
    """
    from filelock import FileLock, Timeout

    _check_out(out)
    run = RunFolder(out)
    if run.path.exists() and not (run.path / _MARK).is_file() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise TrainingError(f"{run.path} 不是本程序的训练目录。为免覆盖里面的文件，请移走它或换一个 --out。")
    lock = FileLock(run.path / _LOCK)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        (run.path / _MARK).write_text(json.dumps({"adapter": out.name}) + "\n", encoding="utf-8")
    except Timeout as error:
        raise TrainingError(f"另一个训练正在使用 {run.path}，请等它结束，或换一个 --out。") from error
    except (OSError, NotImplementedError) as error:
        raise TrainingError(f"无法写入 {run.path}：{system_reason(error)}") from error
    try:
        shutil.rmtree(run.writing, ignore_errors=True)
        yield run
    finally:
        if run.holds_work:
            lock.release()
        else:
            # Emptied while the lock is still held: nobody else can have begun in it.
            _empty(run.path)
            lock.release()
            (run.path / _LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # another process is faster
                run.path.rmdir()


def _empty(folder: Path) -> None:
    """All but the lock. On Windows a viewer may hold the curve: then the mark stays too, so that the next run knows the
    folder for its own."""
    for path in folder.iterdir():
        if path.name not in (_LOCK, _MARK):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    if {path.name for path in folder.iterdir()} <= {_LOCK, _MARK}:
        (folder / _MARK).unlink(missing_ok=True)


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two identities, one readable line each."""
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [
                f"--{key.replace('_', '-')}：原来 {old.get(key)}，现在 {new.get(key)}"
                for key in sorted({*old, *new})
                if old.get(key) != new.get(key)
            ]
        else:
            lines.append(f"{_LABELS.get(name, name)}：原来 {_short(old)}，现在 {_short(new)}")
    return lines


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


def check_mirror(mirror: Path, out: Path) -> None:
    """Raise OptionError where the copies would lie in what is replaced at the end, or the other way round."""
    for ours in (out, RunFolder(out).path):
        if mirror == ours or ours in mirror.parents or mirror in ours.parents:
            raise OptionError(f"--mirror 会把检查点放在 {mirror}，与 --out {out} 重叠。请换一个 --mirror。")


def _check_out(out: Path) -> None:
    restore_folder(out, is_adapter)
    if out.exists() and not out.is_dir():
        raise TrainingError(f"--out {out} 是一个文件，请换一个目录")
    if os.path.ismount(out):
        raise TrainingError(f"--out {out} 是一个挂载点，不能整个替换。请用它里面的一个子目录。")
    if out.is_dir() and any(out.iterdir()):
        if not is_adapter(out):
            raise TrainingError(f"--out {out} 不是空目录，也不是适配器目录。为免覆盖里面的文件，请换一个目录。")
        foreign = sorted({path.name for path in out.iterdir()} - _written_by_us(out))
        if foreign:
            raise TrainingError(
                f"--out {out} 里有不是本程序写的 {'、'.join(foreign[:5])}。为免丢失，请先移走，或换一个 --out。"
            )


def _written_by_us(out: Path) -> set[str]:
    try:
        # "checkpoints": an adapter of version 0.1.
        return {MANIFEST, "checkpoints", *json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {path.name for path in out.iterdir()}  # damaged: being replaced mends it


def is_adapter(folder: Path) -> bool:
    """Many a folder has a manifest.json; only an adapter has this beside it."""
    return (folder / MANIFEST).is_file() and (folder / "adapter_config.json").is_file()

"""Where everything lies: what is to stay (on Drive), and the local disk that work is done on.

Drive is slow and drops writes, so a folder is made locally, copied under another name, compared, and renamed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from fintunnel.terminal_text import system_reason

from fintunnel_training.adapter import MANIFEST, file_sha256
from fintunnel_training.atomic_files import replace_folder
from fintunnel_training.colab import drive
from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.sections import Section

__all__ = ["Places", "copy_file", "copy_folder", "find_places"]

_ROOM = 500 * 2**20  # bytes: two checkpoints and an adapter of a 7B base, the zip, the report


@dataclass(frozen=True)
class Places:
    """`folder`: what is to stay. `work`: on the local disk; the same as `folder` where that is local."""

    folder: Path
    work: Path

    @property
    def instructions(self) -> Path:
        return self.folder / "instructions.jsonl"

    @property
    def adapter(self) -> Path:
        """where training writes it"""
        return self.work / "adapter"

    @property
    def saved(self) -> Path:
        """the adapter that stays"""
        return self.folder / "adapter"

    @property
    def checkpoints(self) -> Path:
        """copies, beside the adapter that stays"""
        return self.folder / "checkpoints"

    @property
    def live_curve(self) -> Path:
        """what `fintunnel train` draws while it runs"""
        return self.work / "adapter-training" / "loss_curve.png"

    def check_trained(self) -> None:
        """Raise CellError where no adapter has been kept yet."""
        if not (self.saved / MANIFEST).is_file():
            raise CellError(f"还没有训练好的适配器：请先运行{Section.TRAIN}。")

    def check(self) -> None:
        """Raise CellError where results could not be kept: asked again before every longer step."""
        drive.check_mounted(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.work.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise CellError(
                f"不能使用目录 {error.filename}（{system_reason(error)}）：请把 FOLDER 换成能写的目录。"
            ) from None
        if free < _ROOM:
            raise CellError(
                f"{self.folder} 只剩 {free / 2**20:.0f} MB，至少要 {_ROOM / 2**20:.0f} MB："
                "请清理（Drive 还要清空回收站），或把 FOLDER 换到别处。已有的结果都还在。"
            )


def find_places(folder: str, work: str) -> Places:
    """Empty: on Colab Drive's `fintunnel` and the runtime's own disk, elsewhere `models/colab` alone. On Colab a
    relative `folder` lies on Drive: what is on the runtime's disk goes with it.

    Each folder of results gets a working folder of its own, so that two trainings do not meet.
    """
    on_colab = drive.in_colab()
    kept = (drive.on_drive(folder or "fintunnel") if on_colab else Path(folder or "models/colab")).absolute()
    if work:
        return Places(kept, Path(work).absolute())
    return Places(kept, Path("/content/fintunnel-work") / kept.relative_to(kept.anchor) if on_colab else kept)


def copy_folder(source: Path, target: Path) -> None:
    """`target` becomes a copy of `source`, complete or not at all. Nothing is done where they are the same, by path or
    by content.

    Raises:
        CellError: it cannot be written, or reads back otherwise.
    """
    if source == target or _hashes(source) == _hashes(target):
        return
    partial = target.with_name(f".{target.name}.copying")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        if _hashes(partial) != _hashes(source):
            raise CellError(f"复制到 {target} 的文件读回来与原来的不同：请再运行这一格。{source} 完好。")
        replace_folder(partial, target)
    except OSError as error:
        raise _not_copied(source, target, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_file(source: Path, target: Path) -> None:
    """The same for a file.

    Raises:
        CellError: it cannot be read or written.
    """
    partial = target.with_name(f".{target.name}.copying")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        raise _not_copied(source, target, error) from None
    finally:
        partial.unlink(missing_ok=True)


def _not_copied(source: Path, target: Path, error: OSError) -> CellError:
    # shutil.Error has a list of files instead of a reason.
    reason = error.args[0][0][2] if isinstance(error, shutil.Error) else system_reason(error)
    return CellError(
        f"没能复制到 {target}（{reason}）：请看 Drive 是否满了、是否还挂载着，再运行这一格。{source} 完好，不会丢。"
    )


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}

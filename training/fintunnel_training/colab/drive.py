"""What only Colab has: the mounted Drive, uploads and downloads through the browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.sections import Section

__all__ = ["check_mounted", "download", "in_colab", "mount", "upload"]

_MOUNT = Path("/content/drive")


def in_colab() -> bool:
    return "google.colab" in sys.modules  # its kernels have it loaded


def mount() -> None:
    """Ask for the Drive, where this is Colab; a Drive that is there already is left alone.

    Raises:
        CellError: it was not allowed, or took too long.
    """
    if not in_colab():
        sys.stdout.write("不在 Colab，跳过：结果存在本机。\n")
        return
    from google.colab import drive  # type: ignore[import-not-found, unused-ignore]

    try:
        drive.mount(str(_MOUNT))
    except Exception as error:  # Colab documents none
        raise CellError(f"没有挂载 Drive（{error}）：请再运行这一格，在弹窗里选账号并允许全部权限。") from None


def check_mounted(folder: Path) -> None:
    """Raise CellError for a folder on a Drive that is not there: what is written would be lost with the runtime."""
    if _MOUNT in folder.absolute().parents and not os.path.ismount(_MOUNT):
        raise CellError(f"{folder} 在 Drive 上，而 Drive 没有挂载：请先运行{Section.DRIVE}，再运行这一格。")


def upload() -> list[Path]:
    """Files that the person chooses in the browser; they lie in the current folder afterwards.

    Raises:
        CellError: this is not Colab, or nothing was chosen.
    """
    if not in_colab():
        raise CellError("只有 Colab 能在网页里上传：请把 DATA 改成数据库或 JSONL 的路径。")
    from google.colab import files

    chosen = [Path(name) for name in files.upload()]
    if not chosen:
        raise CellError("没有选文件：请再运行这一格，或把 DATA 改成 Drive 上的路径。")
    return chosen


def download(file: Path) -> None:
    """Hand it to the browser; says where it is where there is none."""
    if not in_colab():
        sys.stdout.write(f"文件在 {file}\n")
        return
    from google.colab import files

    files.download(str(file))
    sys.stdout.write(f"已交给浏览器下载；没有弹出来，就到 {file} 取。\n")

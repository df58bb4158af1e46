"""What only Colab has: the mounted Drive, uploads and downloads through the browser."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from fintunnel_training.colab.failure import CellError
from fintunnel_training.colab.sections import Section

__all__ = ["check_mounted", "download", "finish_writing", "in_colab", "is_on_drive", "mount", "on_drive", "upload"]

_MOUNT = Path("/content/drive")
_COUNTED = re.compile(r" ?\(\d+\)(?=(\.[^.]+)?$)")


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


def on_drive(folder: str) -> Path:
    """A folder of the form's; relative ones lie in `MyDrive`, however much of that path they repeat."""
    above = {"content": Path("/"), "drive": Path("/content"), "MyDrive": _MOUNT}
    return above.get(Path(folder).parts[0], _MOUNT / "MyDrive") / folder


def is_on_drive(folder: Path) -> bool:
    return _MOUNT in folder.absolute().parents


def finish_writing() -> None:
    """Drive uploads in the background, and what has not arrived goes with the runtime: wait for it, and unmount. Does
    nothing where no Drive is mounted."""
    if not in_colab() or not os.path.ismount(_MOUNT):
        return
    from google.colab import drive

    sys.stdout.write("等 Drive 收完所有文件 …\n")
    try:
        drive.flush_and_unmount()
    except Exception as error:  # Colab documents none
        sys.stdout.write(f"[提示] 不能确定 Drive 已收完（{error}）：请到 Drive 网页看过再断开运行时。\n")
        return
    sys.stdout.write(f"Drive 已收完，可以断开运行时了。再要用 Drive，请先运行{Section.DRIVE}。\n")


def check_mounted(folder: Path) -> None:
    """Raise CellError for a folder on a Drive that is not there: what is written would be lost with the runtime."""
    if is_on_drive(folder) and not os.path.ismount(_MOUNT):
        raise CellError(f"{folder} 在 Drive 上，而 Drive 没有挂载：请先运行{Section.DRIVE}，再运行这一格。")


def upload(into: Path) -> list[Path]:
    """Files that the person chooses in the browser, in `into`, which holds nothing else afterwards, under their own
    names: Colab adds " (1)" where an earlier upload had the same.

    Raises:
        CellError: this is not Colab, or nothing was chosen.
    """
    if not in_colab():
        raise CellError("只有 Colab 能在网页里上传：请把 DATA 改成数据库或 JSONL 的路径。")
    from google.colab import files

    chosen = [Path(name) for name in files.upload()]
    if not chosen:
        raise CellError("没有选文件：请再运行这一格，或把 DATA 改成 Drive 上的路径。")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    return [Path(shutil.move(file, into / _COUNTED.sub("", file.name))) for file in chosen]


def download(file: Path) -> None:
    """Hand it to the browser; says where it is where there is none."""
    if not in_colab():
        sys.stdout.write(f"文件在 {file}\n")
        return
    from google.colab import files

    files.download(str(file))
    sys.stdout.write(f"已交给浏览器下载；没有弹出来，就到 {file} 取。\n")

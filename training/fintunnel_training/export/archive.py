"""The adapter as one zip file, to be downloaded and unpacked on any system."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from fintunnel.atomic_file import replacing_file
from fintunnel.terminal_text import system_reason

from fintunnel_training.errors import AdapterError, TrainingError

__all__ = ["ZIP_NAME", "write_zip"]

ZIP_NAME = "qlora_weights.zip"
_CHUNK = 1 << 20
_UNCOMPRESSED = (".safetensors", ".bin", ".png")  # compressing weights costs minutes and saves little
# What Windows does not allow as a name, in any folder.
_ODD_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def write_zip(adapter: Path, out: Path) -> None:
    """Pack the files of an adapter folder under one top folder; `out` appears complete and tested, or not at all.

    Checkpoints (sub-folders), hidden and half-written files stay out.

    Raises:
        TrainingError: `out` is something else than an adapter's zip file, or cannot be written.
        AdapterError: a file has a name that Windows cannot unpack.
    """
    if out.exists() and not _is_adapter_zip(out):
        raise TrainingError(f"{out} 已存在，而且不是适配器的 zip 文件。为免覆盖它，请用 --out 换一个文件名。")
    files = _files(adapter)
    name = adapter.resolve().name
    top = "adapter" if not name or _ODD_NAME.search(name) else name
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(out) as partial:
            _pack(files, top, partial)
            with zipfile.ZipFile(partial) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise TrainingError(f"打包后校验失败：{damaged} 读回来与写入的不同，请检查磁盘。")
    except OSError as error:
        raise TrainingError(f"无法写入 {out}：{system_reason(error)}") from error


def _is_adapter_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "adapter_config.json" for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _files(adapter: Path) -> list[Path]:
    files = [
        path
        for path in sorted(adapter.iterdir(), key=lambda path: path.name)
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".partial")
    ]
    for path in files:
        if _ODD_NAME.search(path.name):
            raise AdapterError(f"文件名 {path.name} 在 Windows 上无法解压，请先改名或移走：{path}")
    return files


def _pack(files: list[Path], top: str, target: Path) -> None:
    from tqdm.auto import tqdm

    total = sum(path.stat().st_size for path in files)
    bar: Any
    with (
        zipfile.ZipFile(target, "w") as archive,
        tqdm(total=total, desc="打包", unit="B", unit_scale=True) as bar,
    ):
        for path in files:
            entry = zipfile.ZipInfo.from_file(path, f"{top}/{path.name}", strict_timestamps=False)
            entry.compress_type = zipfile.ZIP_STORED if path.suffix in _UNCOMPRESSED else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w") as packed:
                while chunk := source.read(_CHUNK):
                    packed.write(chunk)
                    bar.update(len(chunk))

"""Where model files and results go: room and write permission."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from fintunnel.terminal_text import system_reason

from fintunnel_training.doctor.findings import Finding
from fintunnel_training.embedded import embedded_cache

__all__ = ["DOWNLOAD_GB", "current_folder", "fintunnel_cache_room", "hub_cache", "hub_cache_room"]

DOWNLOAD_GB = 14.0  # deepseek-llm-7b-chat in 16 bits
_FOLDER_GB = 1.0  # an adapter of a 7B base and its newest checkpoints; the converted embedded model


def hub_cache() -> Path:
    """Where huggingface_hub keeps downloads, by the variables that it reads itself."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(os.path.expandvars(folder)).expanduser()


def hub_cache_room(to_download: bool) -> Finding:
    """Room for the base where it has to be downloaded; any room will do elsewhere."""
    advice = "请清理磁盘，或把环境变量 HF_HOME 指到空间够、可写的盘（如 D:\\hf）。"
    finding = _room(hub_cache(), DOWNLOAD_GB if to_download else 0, advice)
    if finding.status == "failure" and not to_download:
        return Finding("warning", finding.found, finding.advice)
    return finding


def fintunnel_cache_room(needed: bool) -> Finding:
    finding = _room(embedded_cache(), _FOLDER_GB, "请清理磁盘，或把环境变量 FINTUNNEL_CACHE 指到空间够、可写的目录。")
    if finding.status == "failure" and not needed:
        return Finding("warning", finding.found, finding.advice)
    return finding


def current_folder() -> Finding:
    return _room(Path.cwd(), _FOLDER_GB, "请清理磁盘，或换一个空间够、可写的目录运行。")


def _room(folder: Path, need_gb: float, advice: str) -> Finding:
    """A failure where the folder, or the nearest one above it that is there, has too little room or is read-only."""
    existing = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    free = shutil.disk_usage(existing).free / 1e9
    found = f"{folder}，空闲 {free:.1f} GB"
    try:
        # os.access knows nothing of Windows' permissions.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("failure", f"{found}，不能写入（{system_reason(error)}）", advice)
    if free < need_gb:
        return Finding("failure", f"{found}，需要约 {need_gb:.0f} GB", advice)
    return Finding("ok", found)

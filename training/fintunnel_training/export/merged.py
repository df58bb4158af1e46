"""Base and adapter as one 16-bit model in a folder of its own, for transformers, vLLM and Ollama."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fintunnel.terminal_text import system_reason

from fintunnel_training.adapter import ADAPTER_WEIGHTS, MANIFEST, Manifest, check_base, file_sha256
from fintunnel_training.atomic_files import replace_folder
from fintunnel_training.base import LoadedBase, load_base, resolve_base
from fintunnel_training.errors import OptionError, TrainingError
from fintunnel_training.export.ollama import modelfile
from fintunnel_training.export.record import RECORD, ExportRecord, check_place, read_record, write_record
from fintunnel_training.merging import merge_weights
from fintunnel_training.serving import base_of

__all__ = ["base_to_merge", "is_merged_from", "write_merged"]

_SHARD = "2GB"  # small enough that progress shows and memory on the CPU stays low
_LIBRARIES = ("fintunnel", "torch", "transformers", "peft", "safetensors")


def base_to_merge(manifest: Manifest, base: str | None) -> str:
    """What `--base` is, or would be.

    Raises:
        OptionError: the base was a local folder, and nobody says where it is now; or it is a merged model itself.
    """
    if base is None:
        return base_of(manifest)
    if (Path(base) / RECORD).is_file():
        # Its hashes are those of the base: only weights that an adapter changes differ.
        raise OptionError(f"--base {base} 已经是合并后的模型，再合并一次会把适配器算两遍。请给原来的基座。")
    return base


def write_merged(adapter: Path, manifest: Manifest, base: str, target: Path) -> ExportRecord:
    """Merge, and write weights, tokenizer, generation config, Modelfile and record into `target`.

    Raises:
        AdapterError: made for another base, or its weights are not finite.
        BaseModelError: the base cannot be loaded.
        TrainingError: `target` holds something else, the disk is too small, or cannot be written.
    """
    check_place(target)
    loaded = load_base(base, "none")
    check_base(manifest, loaded.info)
    _check_space(target, sum(p.numel() * p.element_size() for p in loaded.model.parameters()))
    model = merge_weights(loaded, adapter)
    with _written_beside(target) as folder:
        _save(model, loaded, folder)
        for licence in _licences(base):
            shutil.copyfile(licence, folder / licence.name)
        record = ExportRecord(
            adapter=adapter.resolve().name,
            adapter_manifest_sha256=file_sha256(adapter / MANIFEST),
            adapter_weights_sha256=manifest.files[ADAPTER_WEIGHTS],
            base=loaded.info,
            dtype=loaded.precision.dtype,
            versions={name: version(name) for name in _LIBRARIES},
            files=_hashes(sorted(folder.iterdir())),
        )
        write_record(folder, record)
    return record


def is_merged_from(folder: Path, manifest: Manifest) -> bool:
    """Whether `folder` already holds this adapter's merged model, whole and unaltered."""
    record = read_record(folder)
    if record is None or record.adapter_weights_sha256 != manifest.files[ADAPTER_WEIGHTS]:
        return False
    files = [folder / name for name in record.files]
    return all(path.is_file() for path in files) and _hashes(files) == record.files


def _check_space(target: Path, needed: int) -> None:
    place = next(folder for folder in target.resolve().parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TrainingError(
            f"磁盘空间不够：合并后的模型要 {needed / 2**30:.1f} GiB，{place} 只剩 {free / 2**30:.1f} GiB。"
        )


def _save(model: Any, base: LoadedBase, folder: Path) -> None:
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.enable_progress_bar()
    try:
        model.save_pretrained(folder, max_shard_size=_SHARD)
    except SafetensorError as error:
        raise TrainingError(f"无法写入合并后的权重：{error}") from error
    finally:
        logging.disable_progress_bar()
    base.tokenizer.save_pretrained(folder)
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    text = modelfile(
        base.tokenizer, base.context_tokens, bos_is_added=bool(tokenizer_config.get("add_bos_token", False))
    )
    (folder / "Modelfile").write_text(text, encoding="utf-8", newline="\n")
    for weights in folder.glob("*.safetensors"):
        shutil.copymode(folder / "Modelfile", weights)  # safetensors lets nobody but the owner read


def _licences(base: str) -> list[Path]:
    """The base's licence files, where they lie beside its weights on this machine."""
    resolved = resolve_base(base)
    folder = Path(resolved.path)
    if resolved.source == "hub":
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(resolved.id, "config.json")
        if not isinstance(config, str):
            return []
        folder = Path(config).parent
    return [path for path in sorted(folder.iterdir()) if path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE"))]


def _hashes(files: list[Path]) -> dict[str, str]:
    from tqdm.auto import tqdm

    return {path.name: file_sha256(path) for path in tqdm(files, desc="计算 SHA-256", unit="个文件")}


@contextmanager
def _written_beside(target: Path) -> Iterator[Path]:
    """A folder beside `target` that becomes it at the end; an earlier export goes only then."""
    target = target.resolve()
    partial = target.with_name(f".{target.name}.fintunnel-partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what a killed export left
        partial.mkdir(parents=True)
        yield partial
        replace_folder(partial, target)
    except OSError as error:
        raise TrainingError(f"无法写入 {target}：{system_reason(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)

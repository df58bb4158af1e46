"""The adapter folder: its manifest is written when training ends and verified before serving starts.

Imports no torch, so that a folder can be checked on any machine. The manifest says what the adapter was
made for (base, prompt version) and what its classes mean (edges), and holds a SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from fintunnel.atomic_file import replacing_file
from fintunnel.broken_rules import rule_in_chinese
from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import Edges
from pydantic import BaseModel, ConfigDict, ValidationError

from fintunnel_training.errors import AdapterError

__all__ = [
    "ADAPTER_WEIGHTS",
    "MANIFEST",
    "BaseInfo",
    "Manifest",
    "check_base",
    "file_sha256",
    "list_file",
    "read_adapter",
    "write_manifest",
]

MANIFEST = "manifest.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_REQUIRED = (ADAPTER_WEIGHTS, "adapter_config.json")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseInfo(_Record):
    """Which base model: where it came from, and hashes of what an adapter depends on.

    `config_sha256` covers the fields that fix the weights' shapes, `tokenizer_sha256` the vocabulary,
    `chat_template_sha256` the template, `weights_sha256` the weights that 4 bits leave as they are (norms);
    None where the base was not published in bf16, because rounding would then differ from machine to machine.
    None of them changes with the library's version.
    """

    source: Literal["embedded", "local", "hub"]
    id: str
    revision: str | None
    config_sha256: str
    tokenizer_sha256: str
    chat_template_sha256: str
    weights_sha256: str | None


class Manifest(_Record):
    """`prompt_version` is None where the rows were not FinTunnel's: nobody knows which prompts they teach."""

    format_version: Literal[1] = 1
    base: BaseInfo
    quantization: str
    target_modules: list[str]
    prompt_version: int | None
    edges: Edges | None
    splits: dict[str, str]
    data_sha256: str
    versions: dict[str, str]
    files: dict[str, str]


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    folder: Path,
    *,
    base: BaseInfo,
    quantization: str,
    target_modules: list[str],
    prompt_version: int | None,
    edges: Edges | None,
    splits: dict[str, str],
    data_sha256: str,
    versions: dict[str, str],
) -> Manifest:
    """Hash every file that lies in `folder` now and write its manifest. Sub-folders (checkpoints) are left out."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    manifest = Manifest(
        base=base,
        quantization=quantization,
        target_modules=target_modules,
        prompt_version=prompt_version,
        edges=edges,
        splits=splits,
        data_sha256=data_sha256,
        versions=versions,
        files=files,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def list_file(folder: Path, name: str) -> None:
    """Enter a file that was written into a finished adapter folder (a calibration, another form of the weights) in
    its manifest, which is replaced in one step. A folder without a manifest stays without.

    Raises:
        AdapterError: the manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return
    manifest = _parse(path)
    files = {**manifest.files, name: file_sha256(folder / name)}
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=2) + "\n"
    with replacing_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_adapter(folder: Path, *, allow_unverified: bool = False) -> Manifest | None:
    """Read and verify an adapter folder.

    Returns:
        its manifest; None for a folder without one, which needs `allow_unverified`.

    Raises:
        AdapterError: a file is missing or altered, the format or the prompt version is unknown.
    """
    if not folder.is_dir():
        raise AdapterError(f"找不到适配器目录：{folder}")
    missing = [name for name in _REQUIRED if not (folder / name).is_file()]
    if missing:
        raise AdapterError(f"适配器目录不完整：{folder} 缺少 {'、'.join(missing)}")
    path = folder / MANIFEST
    if not path.is_file():
        if allow_unverified:
            return None
        raise AdapterError(f"{folder} 没有 {MANIFEST}，无法确认它是为哪个基座训练的。确定要用，请加 --allow-unverified")
    manifest = _parse(path)
    if manifest.prompt_version is None and not allow_unverified:
        raise AdapterError(
            f"{folder} 是用别处的指令集训练的，它学的提示词与 /analyze 的不一定相同。确定要用，请加 --allow-unverified"
        )
    unlisted = [name for name in _REQUIRED if name not in manifest.files]
    if unlisted:
        raise AdapterError(f"{folder / MANIFEST} 没有列出 {'、'.join(unlisted)} 的 SHA-256，无法校验")
    for name, expected in manifest.files.items():
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise AdapterError(f"适配器目录不完整：{folder} 缺少 {name}")
        if file_sha256(file) != expected:
            raise AdapterError(f"适配器文件被改动或损坏：{file}（SHA-256 与 {MANIFEST} 不符）")
    return manifest


def _parse(path: Path) -> Manifest:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"无法读取 {path}：{error}") from error
    version = raw.get("prompt_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version != PROMPT_VERSION:
        raise AdapterError(
            f"适配器的提示词版本是 {version}，本程序认识的是 {PROMPT_VERSION}。请升级 fintunnel，或用本版本重新训练。"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AdapterError(f"{path} 不是有效的清单：{where} {rule_in_chinese(first)}") from error


def check_base(manifest: Manifest, base: BaseInfo) -> None:
    """Raise AdapterError unless the adapter was made for this base, or a copy of it under another name."""
    weights = (manifest.base.weights_sha256, base.weights_sha256)
    wrong = [
        name
        for name, made_for, given in (
            ("模型结构", manifest.base.config_sha256, base.config_sha256),
            ("词表", manifest.base.tokenizer_sha256, base.tokenizer_sha256),
            ("对话模板", manifest.base.chat_template_sha256, base.chat_template_sha256),
            ("权重", *(weights if None not in weights else ("", ""))),
        )
        if made_for != given
    ]
    if wrong:
        raise AdapterError(
            f"适配器是为另一个基座训练的：它要 {manifest.base.id}，现在是 {base.id}（{'、'.join(wrong)}不同）。"
            "请用 --base 指定训练时的基座。"
        )

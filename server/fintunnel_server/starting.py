"""The engine that `fintunnel serve` was asked for: in this process, or another server's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from fintunnel_server.engine import Engine
from fintunnel_server.errors import SettingsError
from fintunnel_server.settings import ServerSettings

__all__ = ["ModelOptions", "named_adapters", "start_engine"]


@dataclass(frozen=True)
class ModelOptions:
    """The flags of `fintunnel serve` that say what answers. `adapters`: folders, or `name=folder`."""

    base: str | None
    adapters: Sequence[str]
    quantization: Literal["nf4", "none"]
    calibrated: bool
    allow_unverified: bool
    merge: bool
    upstream: str | None
    upstream_model: str | None
    upstream_base: str | None


def start_engine(options: ModelOptions, settings: ServerSettings) -> tuple[Engine, Callable[[str, Path], None] | None]:
    """The engine, and what adds an adapter to it by name, where it can.

    Raises:
        SettingsError: flags that do not fit together.
        FinTunnelError: it cannot be loaded, or reached.
    """
    adapters = named_adapters(options.adapters)
    if options.upstream is not None:
        return _upstream(options, adapters, settings), None
    if options.upstream_model or options.upstream_base:
        raise SettingsError("--upstream-model 和 --upstream-base 要与 --upstream 一起用。")
    if options.merge and len(adapters) != 1:
        raise SettingsError("--merge 要恰好一个 --adapter：合并进基座的那个。")
    return _local(options, adapters, settings)


def _local(
    options: ModelOptions, adapters: dict[str, Path], settings: ServerSettings
) -> tuple[Engine, Callable[[str, Path], None] | None]:
    # Code that oneDNN made, 0.65 MiB for each shape of a product, of which it would keep 1,024. Read once, before torch
    # multiplies for the first time; a pass has about a dozen shapes.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    from fintunnel_training.adapter import read_adapter
    from fintunnel_training.base import default_base

    for folder in adapters.values():  # before torch and the base, which take their time
        read_adapter(folder, allow_unverified=options.allow_unverified)
    from fintunnel_server.loading import load_local_engine, load_merged_engine
    from fintunnel_server.local_engine import EngineLimits

    name = options.base or default_base()
    shown = "、".join(map(str, adapters.values()))
    typer.echo(f"加载 {name}" + (f" 与适配器 {shown}" if shown else "（不带适配器）") + " …", err=True)
    limits = EngineLimits(
        max_rows=settings.max_rows,
        max_waiting=settings.max_waiting,
        max_cache_bytes=settings.kv_cache_mib and settings.kv_cache_mib * 2**20,
        max_adapters=settings.max_adapters,
    )
    engine = load_local_engine(
        name,
        adapters,
        quantization=options.quantization,
        limits=limits,
        allow_unverified=options.allow_unverified,
        calibrated=options.calibrated,
    )
    if options.merge:
        from fintunnel_server.merge_check import CHECKED, changed_labels, check_labels

        before = check_labels(engine, at_once=limits.max_rows)
        engine.stop()
        del engine  # two models need not be there at once
        [(adapter, folder)] = adapters.items()
        engine = load_merged_engine(
            name,
            adapter,
            folder,
            quantization=options.quantization,
            limits=limits,
            allow_unverified=options.allow_unverified,
            calibrated=options.calibrated,
        )
        changed = changed_labels(before, check_labels(engine, at_once=limits.max_rows))
        typer.echo(f"适配器已合并：{CHECKED} 个样例标签中有 {changed} 个与合并前不同", err=True)
        return engine, None

    def load_adapter(name: str, folder: Path) -> None:
        engine.load_adapter(name, folder, allow_unverified=options.allow_unverified, calibrated=options.calibrated)

    return engine, load_adapter


def _upstream(options: ModelOptions, adapters: dict[str, Path], settings: ServerSettings) -> Engine:
    if not options.upstream_model:
        raise SettingsError("请用 --upstream-model 给出上游那里微调模型的名字。")
    if options.base is not None or len(adapters) > 1:
        raise SettingsError("与 --upstream 一起，不用 --base，--adapter 至多一个：上游那个模型的适配器目录。")
    if options.merge or options.quantization != "nf4":
        raise SettingsError("--merge 和 --quantization 是上游自己的事，不能与 --upstream 一起用。")
    from fintunnel_server.upstream import load_upstream_engine

    assert options.upstream is not None
    typer.echo(f"连接上游，模型 {options.upstream_model} …", err=True)
    return load_upstream_engine(
        options.upstream,
        options.upstream_model,
        api_key=settings.upstream_api_key,
        base_model=options.upstream_base,
        adapter=next(iter(adapters.values()), None),
        allow_unverified=options.allow_unverified,
        calibrated=options.calibrated,
    )


def named_adapters(given: Sequence[str]) -> dict[str, Path]:
    """Folders by the names that requests call them; a folder alone gives its own.

    Raises:
        SettingsError: two of one name.
    """
    adapters: dict[str, Path] = {}
    for each in given:
        name, equals, folder = each.partition("=")
        # A folder's path may hold an equals sign too; a name holds no separator.
        if not equals or not name or "/" in name or "\\" in name:
            name, folder = Path(each).resolve().name, each
        if name in adapters:
            raise SettingsError(f"有两个叫 {name} 的适配器，请用 --adapter 名字=目录 区分。")
        adapters[name] = Path(folder)
    return adapters

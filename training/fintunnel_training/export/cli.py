"""`fintunnel export`. Heavy modules are imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fintunnel.wire import NewsRequest

from fintunnel_training.adapter import Manifest, file_sha256, read_adapter
from fintunnel_training.errors import AdapterError, OptionError
from fintunnel_training.export.archive import ZIP_NAME, write_zip
from fintunnel_training.export.record import RECORD, read_record, write_record
from fintunnel_training.option_paths import usable_base, usable_path

__all__ = ["export"]

export = typer.Typer(add_completion=False, rich_markup_mode=None, help="把适配器打包、转换或与基座合并")


@export.command()
def _export(
    adapter: Annotated[Path, typer.Option(help="适配器目录")],
    as_zip: Annotated[
        bool, typer.Option("--zip", help=f"打包成一个 zip 文件，默认 {ZIP_NAME}，放在适配器目录旁")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="--zip 的文件名")] = None,
    as_bin: Annotated[bool, typer.Option("--bin", help="在适配器目录里另存一份 adapter_model.bin")] = False,
    merged: Annotated[
        Path | None, typer.Option(help="与 16-bit 基座合并成完整的模型，连同 Ollama 的 Modelfile 写进这个目录")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="比较合并后的模型与基座+适配器的标签；--merged 里已有时不再合并")
    ] = False,
    base: Annotated[str | None, typer.Option(help="embedded、本地目录或模型 ID；默认训练时的基座")] = None,
    data: Annotated[Path | None, typer.Option(help="--verify 用的指令集 JSONL；旁边有验证集就用验证集")] = None,
    rows: Annotated[int, typer.Option(min=1, help="--verify 比较多少条新闻")] = 50,
    allow_unverified: Annotated[bool, typer.Option(help="接受用别处的指令集训练的适配器")] = False,
) -> None:
    """打包（--zip）、另存 .bin（--bin）、合并（--merged 目录）、验证合并（--verify）；可以一起用。"""
    if not (as_zip or as_bin or merged or verify):
        raise OptionError("请至少选一样：--zip、--bin、--merged 目录")
    if out is not None and not as_zip:
        raise OptionError("--out 是 zip 的文件名，请同时给 --zip")
    if verify and (merged is None or data is None):
        raise OptionError("--verify 还需要 --merged 目录（合并后的模型）和 --data 指令集.jsonl")
    usable_base(base)
    adapter_folder = usable_path(adapter, "--adapter")
    if merged is not None:
        _check_apart(adapter_folder, usable_path(merged, "--merged"))
    manifest = read_adapter(adapter, allow_unverified=allow_unverified)
    if as_bin:  # before the zip, which then holds it
        _write_bin(adapter)
    if as_zip:
        target = out or adapter.resolve().parent / ZIP_NAME
        write_zip(adapter, target)
        typer.echo(f"已打包 {target}（{_size(target)}），SHA-256 {file_sha256(target)}")
    if merged is not None:
        if manifest is None:
            raise AdapterError(f"{adapter} 没有 manifest.json，无法确认它的基座，不能合并。")
        _merge(adapter, manifest, merged, base, data if verify else None, rows)


def _check_apart(adapter: Path, merged: Path) -> None:
    """The merged folder replaces what stands in its place as a whole."""
    if merged == adapter or merged in adapter.parents or adapter in merged.parents:
        raise OptionError(f"--merged {merged} 与适配器目录 {adapter} 重叠，会毁掉适配器。请换一个目录。")


def _write_bin(adapter: Path) -> None:
    from fintunnel_training.export.bin_weights import write_bin

    path = write_bin(adapter)
    typer.echo(f"已写入 {path}（{_size(path)}），逐个张量与 safetensors 相同")


def _merge(adapter: Path, manifest: Manifest, merged: Path, base: str | None, data: Path | None, rows: int) -> None:
    """Merge, and verify on `data` where it is given; what can be refused is refused before the long work."""
    from fintunnel_training.export.merged import base_to_merge, is_merged_from, write_merged

    name = base_to_merge(manifest, base)
    asked = None
    if data is not None:
        from fintunnel_training.export.verify import news_requests

        asked = news_requests(data, rows)
    if asked is not None and is_merged_from(merged, manifest):
        typer.echo(f"{merged} 已是这个适配器合并后的模型，不再合并")
    else:
        record = write_merged(adapter, manifest, name, merged)
        size = sum((merged / file).stat().st_size for file in record.files) / 2**20
        typer.echo(f"已合并到 {merged}（{size:.1f} MiB，{record.dtype}，基座 {record.base.id} 未量化）")
        typer.echo(f"放进 Ollama：cd {merged}，再 ollama create my-analyst -f Modelfile")
    if asked is not None:
        _verify(adapter, manifest, name, merged, *asked)


def _verify(
    adapter: Path, manifest: Manifest, base: str, merged: Path, path: Path, requests: list[NewsRequest]
) -> None:
    from fintunnel_training.export.verify import verify

    typer.echo(f"用 {path} 的 {len(requests)} 条新闻比较：16-bit 基座+适配器，与 16-bit 合并后的模型")
    found = verify(adapter, manifest, base, merged, path, requests)
    typer.echo(
        f"比较了 {found.rows} 条：impact 有 {found.impact_differs} 条不同，"
        f"direction 有 {found.direction_differs} 条不同，概率最多相差 {found.largest_difference:.4f}"
    )
    record = read_record(merged)
    if record is not None:
        write_record(merged, record.model_copy(update={"verification": found}))
        typer.echo(f"结果记在 {merged / RECORD}")


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB"

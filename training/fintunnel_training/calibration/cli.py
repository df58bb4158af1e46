"""`fintunnel calibrate`. Heavy modules are imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["calibrate"]

calibrate = typer.Typer(add_completion=False, rich_markup_mode=None, help="用验证集校准模型给出的概率")


@calibrate.command()
def _calibrate(
    adapter: Annotated[Path, typer.Option(help="适配器目录；calibration.json 写在里面")],
    data: Annotated[Path, typer.Option(help="训练用的指令集 X.jsonl（取它旁边的 X.val.jsonl），或 X.val.jsonl 本身")],
    eval_data: Annotated[Path | None, typer.Option(help="验证集 JSONL，代替旁边的 X.val.jsonl")] = None,
    url: Annotated[
        str | None,
        typer.Option(help="已在运行、用这个适配器的服务（密钥取 FINTUNNEL_API_KEY）；不给就自己启动一个，用完停掉"),
    ] = None,
    base: Annotated[str | None, typer.Option(help="embedded、本地目录或模型 ID；默认是适配器清单里的基座")] = None,
    quantization: Annotated[
        Literal["nf4", "none"] | None, typer.Option(help="nf4：4-bit；none：16-bit；默认与训练时相同")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="只问这么多行（按时间均匀取）；默认全部")] = None,
    allow_unverified: Annotated[bool, typer.Option(help="接受没有 manifest.json 的适配器")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON，供程序读取")] = False,
) -> None:
    """逐条问模型验证集里的新闻（有上下文、无上下文各一次），为每个字段拟合温度和类别偏置。"""
    from fintunnel_training.calibration.calibrate import calibrate_adapter
    from fintunnel_training.calibration.report import show
    from fintunnel_training.option_paths import usable_base

    calibration = calibrate_adapter(
        adapter,
        data,
        eval_data=eval_data,
        url=url,
        base=usable_base(base),
        quantization=quantization,
        rows=rows,
        allow_unverified=allow_unverified,
    )
    if as_json:
        typer.echo(calibration.model_dump_json(indent=2))
        return
    show(calibration, adapter)

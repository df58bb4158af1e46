"""`fintunnel dataset …`. Heavy modules are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fintunnel_training.dataset.build_command import build
from fintunnel_training.dataset.checks.check_command import check
from fintunnel_training.dataset.looking.look_commands import preview, stats
from fintunnel_training.dataset.teacher.augment_command import augment

__all__ = ["dataset"]

dataset = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="从数据库生成指令集")


@dataset.callback()
def _dataset() -> None:
    """从数据库生成指令集"""


def sample(out: Annotated[Path, typer.Option(help="要写的 SQLite 文件")]) -> None:
    """写出自带的示例数据库（2025 年 8—9 月）。"""
    from fintunnel_training.dataset.sources.sample_database import build_sample_database

    build_sample_database(out)
    typer.echo(f"写好：{out}")


dataset.command("build")(build)
dataset.command("check")(check)
dataset.command("stats")(stats)
dataset.command("preview")(preview)
dataset.command("augment")(augment)
dataset.command("sample")(sample)

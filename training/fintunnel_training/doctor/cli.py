"""`fintunnel doctor`: what this machine can train, before an hour is spent on finding out."""

from __future__ import annotations

import json
import unicodedata
from typing import Annotated

import typer

from fintunnel_training.doctor.checks import conclude, run_checks
from fintunnel_training.doctor.findings import Check, Status

__all__ = ["doctor"]

doctor = typer.Typer(add_completion=False, rich_markup_mode=None, help="检查这台机器能否训练和服务")

_MARKS: dict[Status, str] = {"ok": "✓", "warning": "!", "failure": "✗"}
_WORDS: dict[Status, str] = {"ok": "正常", "warning": "注意", "failure": "失败"}
_COLOURS: dict[Status, str] = {
    "ok": typer.colors.GREEN,
    "warning": typer.colors.YELLOW,
    "failure": typer.colors.RED,
}
_NAME_WIDTH = 14  # of "fintunnel 缓存", the longest name


@doctor.command()
def _doctor(
    base: Annotated[
        str | None, typer.Option(help="embedded、本地目录或模型 ID；默认有 GPU 用 deepseek-llm-7b-chat，否则 embedded")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="不检查网络")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON，供程序读取")] = False,
) -> None:
    """检查 Python、torch、GPU、4-bit 量化、磁盘、令牌和网络，并说明每个问题怎么解决。能训练时退出码为 0。"""
    checks = []
    # Each line as it is known: importing torch alone can take ten seconds on a laptop.
    for check in run_checks(base, offline=offline):
        checks.append(check)
        if not as_json:
            _show(check)
    conclusion = conclude(checks, base)
    if as_json:
        report = {"checks": [check.as_dict() for check in checks], "ok": conclusion.ok}
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        typer.secho(f"\n{conclusion.text}", bold=True, fg=None if conclusion.ok else typer.colors.RED)
    if not conclusion.ok:
        raise typer.Exit(1)


def _show(check: Check) -> None:
    """One line for what was found, one for what to do; no line is broken, so that commands can be copied."""
    colour = _COLOURS[check.status]
    mark = typer.style(f"{_MARKS[check.status]} {_WORDS[check.status]}", fg=colour)
    width = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in check.name)
    typer.echo(f"{mark}  {check.name}{' ' * (_NAME_WIDTH - width)}  {check.found}")
    if check.advice:
        typer.secho(f"{' ' * 8}→ {check.advice}", fg=colour)

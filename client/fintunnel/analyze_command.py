"""`fintunnel analyze`: one headline in, labels, probabilities and the reason out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

import typer

from fintunnel.chinese import LABELS_ZH
from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.wire import NewsAnalysis

__all__ = ["analyze"]

_BAR_CELLS = 24
_Label = TypeVar("_Label", bound=str)


def analyze(
    text: Annotated[str, typer.Argument(help="消息正文")],
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON，供程序读取")] = False,
    explain: Annotated[bool, typer.Option(help="是否生成理由")] = True,
    adapter: Annotated[str | None, typer.Option(help="base：不带适配器的基座；默认用服务的适配器")] = None,
) -> None:
    """分析一条消息：由 FINTUNNEL_BACKEND 决定调用 DeepSeek 官方 API，还是自己的模型。"""
    with DeepSeekClient() as client:
        analysis = client.analyze(text, explain=explain, adapter=adapter)
    if as_json:
        typer.echo(analysis.model_dump_json(indent=2))
    else:
        _show(analysis)


def _show(analysis: NewsAnalysis) -> None:
    _field("影响", analysis.impact, analysis.impact_probs)
    _field("方向", analysis.direction, analysis.direction_probs)
    if analysis.signals is not None:
        typer.echo(f"信号  {'、'.join(LABELS_ZH[signal] for signal in analysis.signals) or '无'}")
    if analysis.rationale:
        typer.echo(f"理由  {analysis.rationale}")
    model = analysis.model
    adapter = f" + {model.adapter}" if model.adapter else ""
    typer.secho(
        f"{model.backend}：{model.base}{adapter}，{analysis.timing_ms.total / 1000:.1f} 秒，"
        f"{analysis.usage.prompt_tokens} + {analysis.usage.completion_tokens} token",
        dim=True,
    )


def _field(title: str, label: _Label, probabilities: Mapping[_Label, float] | None) -> None:
    typer.echo(f"{title}  {LABELS_ZH[label]}")
    for name, probability in (probabilities or {}).items():
        bar = "█" * round(probability * _BAR_CELLS)
        colour = typer.colors.GREEN if name == label else None
        # A Chinese character is two cells wide: pad by width, not by count.
        padding = " " * (4 - 2 * len(LABELS_ZH[name]))
        typer.secho(f"      {LABELS_ZH[name]}{padding} {bar:<{_BAR_CELLS}} {probability:6.1%}", fg=colour)

"""`fintunnel check`: who will answer, before the first real question."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import RequestTimeout
from fintunnel.terminal_text import printable

__all__ = ["check"]

# No model is asked here, and FINTUNNEL_TIMEOUT, which a request's advice names, does not count.
_UNANSWERED = "请确认地址没有写错、服务已就绪、网络和代理通；只是慢的话，用 --timeout 等得更久。"


def check(
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON，供程序读取")] = False,
    timeout: Annotated[float, typer.Option(help="最多等多少秒", min=0.1, max=600.0)] = 15.0,
) -> None:
    """检查谁会回答：后端、地址、模型、往返时间。不向模型提问。"""
    try:
        with DeepSeekClient() as client:
            found = client.check(timeout_seconds=timeout)
    except RequestTimeout as error:
        raise RequestTimeout(error.message, advice=_UNANSWERED) from error
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2))
        return
    adapter = f" + {found.adapter}" if found.adapter else "" if found.backend == "deepseek" else "（没有适配器）"
    typer.echo(f"后端  {found.backend}")
    typer.echo(f"地址  {found.url}")
    typer.echo(printable(f"模型  {found.model}：{found.base}{adapter}"))
    typer.echo(printable(f"可选  {'、'.join(found.models)}"))
    typer.echo(f"往返  {found.round_trip_ms:.0f} 毫秒")
    if found.fallback is not None:
        typer.echo(f"代答  {found.fallback}（自己的服务连不上、超时或出错时；对话和比较不代答）")

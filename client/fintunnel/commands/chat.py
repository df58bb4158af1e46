"""`fintunnel chat`: a conversation on the terminal, written as the model writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import ERROR_PREFIX, FinTunnelError, InvalidRequestError
from fintunnel.prompt import Message
from fintunnel.terminal_text import printable

__all__ = ["chat"]


def chat(
    system: Annotated[str | None, typer.Option("--system", help="系统提示词")] = None,
    max_tokens: Annotated[int, typer.Option(help="每次回答最多多少 token", min=1, max=2048)] = 500,
    temperature: Annotated[float, typer.Option(help="0 最稳定", min=0.0, max=2.0)] = 0.7,
) -> None:
    """与模型对话：由 FINTUNNEL_BACKEND 决定与谁。/clear 清空，/exit 结束，Ctrl-C 打断回答。"""
    with DeepSeekClient() as client:
        found = client.check()
        model = f"{found.base} + {found.adapter}" if found.adapter else found.base
        typer.secho(printable(f"{found.backend}：{model}（{found.url}）。/clear 清空，/exit 结束。"), dim=True)
        opening: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        turns: list[Message] = []
        for text in _lines():
            if text in ("/exit", "/quit", "/退出"):
                return
            if text.startswith("/") and text not in ("/clear", "/清空"):
                typer.secho("没有这个命令。/clear 清空，/exit 结束。", dim=True)
                continue
            if text in ("/clear", "/清空"):
                turns.clear()
                typer.secho("已清空。", dim=True)
                continue
            turns.append({"role": "user", "content": text})
            answer = _answer(client, opening, turns, temperature, max_tokens)
            if answer:
                turns.append({"role": "assistant", "content": answer})
            else:
                turns.pop()  # what was not answered is not part of the conversation


def _lines() -> Iterator[str]:
    interactive = sys.stdin.isatty()
    while True:
        try:
            text = input("你> " if interactive else "").strip()
        except EOFError:
            if interactive:
                typer.echo()
            return
        if text:
            yield text


def _answer(
    client: DeepSeekClient, opening: list[Message], turns: list[Message], temperature: float, max_tokens: int
) -> str:
    """What was written; cut where it was interrupted, empty where it failed. The oldest turns go where the conversation
    has become too long for the model."""
    while True:
        pieces: list[str] = []
        try:
            for piece in client.stream_chat([*opening, *turns], temperature=temperature, max_tokens=max_tokens):
                pieces.append(piece)
                typer.echo(printable(piece), nl=False)
        except KeyboardInterrupt:
            typer.secho("（已打断）", dim=True, nl=False)
        except InvalidRequestError as error:
            if error.code == "prompt_too_long" and len(turns) > 2:
                del turns[:2]
                continue
            typer.secho(f"{ERROR_PREFIX} {printable(str(error))}", err=True)
            return ""
        except FinTunnelError as error:
            typer.secho(f"{ERROR_PREFIX} {printable(str(error))}", err=True)
            return ""
        typer.echo()
        return "".join(pieces)

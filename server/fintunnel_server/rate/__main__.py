"""`python -m fintunnel_server.rate FILE [--port N] [--no-browser]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fintunnel.errors import ERROR_PREFIX, FinTunnelError
from fintunnel.terminal_text import printable, use_utf8

from fintunnel_server.rate.serving import DEFAULT_PORT, serve_ratings

_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@_app.command()
def _rate(
    file: Annotated[Path, typer.Argument(help="fintunnel compare --rate 写出的评分文件")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="端口")] = DEFAULT_PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="在终端里启动时打开浏览器")] = True,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", help="标准输入关闭时结束")] = False,
) -> None:
    """在本机的浏览器里盲评两个模型的回答。"""
    try:
        serve_ratings(file, port=port, browser=browser, until_stdin_closes=until_stdin_closes)
    except FinTunnelError as error:
        typer.echo(f"{ERROR_PREFIX} {printable(str(error))}", err=True)
        raise typer.Exit(error.exit_status) from None


if __name__ == "__main__":
    use_utf8()
    _app(prog_name="python -m fintunnel_server.rate")

"""The rating page as a process: until Ctrl+C, on this machine alone."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path

import typer
import uvicorn
from fintunnel.errors import ConfigurationError
from fintunnel.rating_file import RatingFile

from fintunnel_server.rate.app import create_rate_app
from fintunnel_server.running.listening import listening
from fintunnel_server.running.logs import log_to_stderr
from fintunnel_server.signals import ended_by_signals

__all__ = ["DEFAULT_PORT", "rate_server", "serve_ratings"]

DEFAULT_PORT = 8001


def serve_ratings(
    path: Path, *, port: int = DEFAULT_PORT, browser: bool = True, until_stdin_closes: bool = False
) -> None:
    """Shows the file's pairs and keeps what is said of them; returns after Ctrl+C.

    Args:
        browser: open the page, where a person sits at a terminal with a screen.
        until_stdin_closes: end with whoever holds the other end of standard input, however it ends.

    Raises:
        ConfigurationError: the file is missing, damaged or holds no pairs.
        ServerError: the port cannot be had.
        SystemExit: the process was told to end otherwise.
    """
    with RatingFile(path, create=False) as file, listening("127.0.0.1", port) as listener:
        pairs = len(file.keys())
        if not pairs:
            raise ConfigurationError(f"{path} 里没有要评的回答", advice="请先运行 fintunnel compare --rate 写入。")
        url = f"http://127.0.0.1:{port}/"
        log_to_stderr("text")
        server = rate_server(file)
        if until_stdin_closes:
            threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
        with ended_by_signals():
            try:
                typer.echo(f"评分页面：{url}（{pairs} 组；可以轮流评，各用各的名字；评完按 Ctrl+C 结束）", err=True)
                if browser and _has_screen():
                    # It may wait for the browser's end; the page itself waits in the listener until it is served.
                    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
                server.run(sockets=[listener])
            except KeyboardInterrupt:
                pass  # the way to end it
            finally:
                typer.echo(_kept(file), err=True)


def rate_server(file: RatingFile) -> uvicorn.Server:
    config = uvicorn.Config(
        create_rate_app(file),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def _end_with_stdin(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


def _has_screen() -> bool:
    """Else `webbrowser` would open one in the terminal itself, such as lynx."""
    if not sys.stderr.isatty():
        return False
    return sys.platform in ("win32", "darwin") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))


def _kept(file: RatingFile) -> str:
    ratings = file.ratings()
    raters = len({rating.rater for rating in ratings})
    return f"{file.path} 里有 {raters} 人的 {len(ratings)} 条评分；fintunnel compare 会把它们写进报告。"

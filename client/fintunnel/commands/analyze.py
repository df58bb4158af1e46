"""`fintunnel analyze`: headlines in; labels, probabilities and reasons out."""

from __future__ import annotations

import asyncio
import sys
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fintunnel.async_client import AsyncDeepSeekClient
from fintunnel.atomic_file import replacing_file
from fintunnel.backends.many import Progress as ManyProgress
from fintunnel.commands.analysis_records import csv_table, json_lines
from fintunnel.commands.analysis_views import Row, analysis_view, rows_view
from fintunnel.commands.headlines import headlines_from
from fintunnel.deepseek_client import DeepSeekClient
from fintunnel.errors import ERROR_PREFIX, ConfigurationError, FinTunnelError
from fintunnel.terminal_text import printable, system_reason
from fintunnel.wire import NewsAnalysis, ReportAnswer

__all__ = ["analyze"]

_PIPED_WIDTH = 140  # columns; a pipe has none


def analyze(
    text: Annotated[str | None, typer.Argument(help="消息正文；- 表示从标准输入读，一行一条")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="文本文件，一行一条消息")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON；多条时一行一个")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="输出 CSV；给 Excel 用请加 --out 结果.csv")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="写进文件，而不是打印；.csv 用 Excel 打开")] = None,
    explain: Annotated[bool, typer.Option(help="是否生成理由")] = True,
    adapter: Annotated[str | None, typer.Option(help="base：不带适配器的基座；默认用服务的适配器")] = None,
) -> None:
    """分析消息：由 FINTUNNEL_BACKEND 决定调用 DeepSeek 官方 API，还是自己的模型。"""
    if (text is None) == (file is None):
        raise ConfigurationError("要么给一条消息，要么用 --file 给一个文件", advice="用法见 fintunnel analyze --help。")
    if as_json and as_csv:
        raise ConfigurationError("--json 和 --csv 只能用一个")
    _check_target(out, file)
    if out is not None and out.suffix == ".csv" and not as_csv:
        if as_json:
            raise ConfigurationError("--json 写不成 .csv 文件", advice="请改用 --csv，或换一个文件名。")
        as_csv = True
    fields: dict[str, Any] = {"explain": explain, "adapter": adapter}
    if text is not None and text != "-" and not as_csv:
        with DeepSeekClient() as client:
            analysis = client.analyze(text, **fields)
        _give(analysis.model_dump_json(indent=2) + "\n" if as_json else None, out, analysis_view(analysis))
        return
    texts = [text] if text is not None and text != "-" else headlines_from(file)
    results: dict[int, NewsAnalysis | FinTunnelError] = {}
    try:
        asyncio.run(_analyze_all(texts, fields, results))
    finally:  # what was answered before Ctrl-C is not lost
        rows = [Row(texts[index], results[index]) for index in sorted(results)]
        if rows:
            _give(_for_programs(rows, as_json=as_json, as_csv=as_csv), out, rows_view(rows))
    failed = [result for result in results.values() if isinstance(result, FinTunnelError)]
    if failed:
        # What to do stands once, and not in each row.
        advice = "".join(dict.fromkeys(printable(error.advice) for error in failed))
        typer.echo(f"{ERROR_PREFIX} {len(texts)} 条里有 {len(failed)} 条分析失败。{advice}", err=True)
        raise typer.Exit(1)


async def _analyze_all(
    texts: list[str], fields: dict[str, Any], results: dict[int, NewsAnalysis | FinTunnelError]
) -> None:
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]}"))
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=len(texts), failed="")

        def keep(progress: ManyProgress) -> None:
            if not isinstance(progress.result, ReportAnswer):  # only headlines were asked about
                results[progress.index] = progress.result
            bar.update(task, completed=progress.done, failed=f"失败 {progress.failed}" if progress.failed else "")

        async with AsyncDeepSeekClient() as client:
            await client.analyze_many(texts, on_progress=keep, **fields)


def _for_programs(rows: list[Row], *, as_json: bool, as_csv: bool) -> str | None:
    if as_csv:
        return csv_table(rows)
    return json_lines(rows) if as_json else None


def _check_target(out: Path | None, file: Path | None) -> None:
    """Before anything is asked, and paid for.

    Raises:
        ConfigurationError: the result could not be written there, or would replace the headlines.
    """
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigurationError(f"无法写入 {out}：没有这个目录，或它本身是目录")
    if file is not None and out.exists() and file.exists() and out.samefile(file):
        raise ConfigurationError(f"--out 会覆盖 --file 的 {file}", advice="请换一个文件名。")


def _give(written: str | None, out: Path | None, view: Any) -> None:
    """`written` for programs, else `view` for people; to the file or to the terminal."""
    if out is None:
        if written is None:
            _console().print(view)
        else:
            # For a pipe as it is; a terminal would obey control characters.
            typer.echo(printable(written.replace("\r\n", "\n")) if sys.stdout.isatty() else written, nl=False)
        return
    if written is None:
        console = Console(record=True, width=_PIPED_WIDTH, file=StringIO())
        console.print(view)
        written = console.export_text()
    # The byte order mark tells Excel that it is UTF-8.
    content = written.encode("utf-8-sig" if out.suffix == ".csv" else "utf-8", "replace")
    try:
        if out.exists() and not out.is_file():
            out.write_bytes(content)  # a pipe or a device stays what it is
        else:
            with replacing_file(out) as partial:
                partial.write_bytes(content)
    except OSError as error:
        typer.echo(written, nl=False)  # what was answered is not lost
        raise ConfigurationError(f"无法写入 {out}：{system_reason(error)}", advice="结果已打印出来。") from error
    typer.echo(f"已写入 {out}", err=True)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED_WIDTH)

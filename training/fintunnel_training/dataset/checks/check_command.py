"""`fintunnel dataset check`. Heavy modules are imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fintunnel.chinese import LABELS_ZH

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from fintunnel_training.dataset.checks.check import CheckReport
    from fintunnel_training.dataset.checks.findings import Finding

__all__ = ["check"]

_SHOWN = 3  # examples of a finding in the table
_STYLE = {"错误": "bold red", "警告": "yellow", "提示": "cyan"}
_SPLIT_ZH = {"train": "训练", "val": "验证", "test": "测试"}
_FIELD_ZH = {"impact": "影响", "direction": "方向", "label": "标签"}


def check(
    file: Annotated[Path, typer.Argument(help="指令集 X.jsonl；旁边的 X.val.jsonl、X.test.jsonl 一并检查")],
    val: Annotated[Path | None, typer.Option(help="验证集（默认用旁边的 X.val.jsonl）")] = None,
    test: Annotated[Path | None, typer.Option(help="测试集（默认用旁边的 X.test.jsonl）")] = None,
    base: Annotated[
        str | None, typer.Option(help="检查 token 长度：embedded、本地目录或模型 ID；只读分词器，不读权重")
    ] = None,
    max_length: Annotated[int, typer.Option(min=64, help="训练时每条样本最多 token 数")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON")] = False,
) -> None:
    """检查指令集：格式、重复、无出处的数字、事后信息、前视、类别平衡、千篇一律的答案、长度。

    有一类“错误”就以状态 1 结束；只有“警告”和“提示”时状态是 0。
    """
    from fintunnel_training.dataset.checks.check import check_files, files_to_check

    report = check_files(files_to_check(file, val, test), base, max_length)
    if as_json:
        typer.echo(report.as_json())
    else:
        from rich.console import Console

        _show(report, Console(highlight=False, markup=False, emoji=False))
    if report.failed:
        raise typer.Exit(1)


def _show(report: CheckReport, console: Console) -> None:
    from rich.text import Text

    for split, path in report.files.items():
        console.print(Text(f"{_SPLIT_ZH[split]} {path}：{report.lines[split]} 行，可读 {report.rows[split]} 行"))
    if report.findings:
        console.print(_findings_table(report.findings))
    if report.balance:
        console.print(_balance_table(report))
    if report.templates:
        shares = "，".join(f"{kind or '全部'} {share:.0%}" for kind, share in report.templates.items())
        console.print(Text(f"最常见的一种句式所占比例：{shares}"))
    if report.tokens:
        tokens = report.tokens
        console.print(
            Text(
                f"token 长度（{tokens.base}，上限 {tokens.max_length}）：最短 {tokens.minimum}，中位 {tokens.median}，"
                f"95% 分位 {tokens.p95}，最长 {tokens.maximum}"
            )
        )
    else:
        console.print(Text("没有检查 token 长度；要检查请加 --base embedded（或模型 ID、本地目录）。"))
    console.print(Text(_verdict(report)))


def _verdict(report: CheckReport) -> str:
    counts = {name: sum(finding.severity == name for finding in report.findings) for name in _STYLE}
    if not report.findings:
        return "通过：没有发现问题。"
    told = "，".join(f"{count} 类{name}" for name, count in counts.items() if count)
    return f"未通过：{told}。" if report.failed else f"通过：没有错误；{told}。"


def _findings_table(findings: list[Finding]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True, expand=False)
    table.add_column("级别", no_wrap=True)
    table.add_column("条数", justify="right", no_wrap=True)
    table.add_column("问题、例子与处理", overflow="fold")
    for finding in findings:
        share = f"\n{finding.count / finding.total:.1%}" if finding.total else ""
        body = Text(finding.title, style="bold")
        for example in finding.examples[:_SHOWN]:
            body.append(f"\n{example.file}:{example.line}：{example.excerpt}", style="not bold")
        if finding.count > _SHOWN and finding.examples:
            body.append(f"\n……共 {finding.count} 条（--json 可看更多行号）", style="not bold")
        body.append(f"\n处理：{finding.advice}", style="not bold")
        table.add_row(Text(finding.severity, style=_STYLE[finding.severity]), f"{finding.count}{share}", body)
    return table


def _balance_table(report: CheckReport) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="类别分布", title_justify="left")
    table.add_column("类别")
    for split in report.files:
        table.add_column(_SPLIT_ZH[split], justify="right")
    for field, values in report.balance.items():
        totals = {split: sum(counts.get(split, 0) for counts in values.values()) for split in report.files}
        for value, counts in values.items():
            cells = (
                f"{counts.get(split, 0)}（{counts.get(split, 0) / totals[split]:.0%}）" if totals[split] else "–"
                for split in report.files
            )
            table.add_row(Text(f"{_FIELD_ZH[field]} {LABELS_ZH.get(value, value)}"), *cells)
    return table

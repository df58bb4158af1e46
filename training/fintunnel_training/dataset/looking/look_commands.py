"""`fintunnel dataset stats` and `preview`. Heavy modules are imported inside the commands."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fintunnel.terminal_text import system_reason

if TYPE_CHECKING:
    from rich.console import Console

    from fintunnel_training.dataset.looking.looked import Looked

__all__ = ["preview", "stats"]

_WIDEST = 100  # columns; longer lines of Chinese are hard to read


class _Split(StrEnum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class _Kind(StrEnum):
    NEWS = "news"
    MARKET = "market"
    REPORT = "report"


_Base = Annotated[str | None, typer.Option(help="用它的分词器数 token（同 train）")]
_NoColor = Annotated[bool, typer.Option("--no-color", help="不用颜色")]


def stats(
    data: Annotated[Path, typer.Argument(help="指令集 X.jsonl；旁边的 X.val.jsonl、X.test.jsonl 和数据卡一并读取")],
    out: Annotated[Path | None, typer.Option(help="图片目录，默认 X.stats/")] = None,
    base: _Base = None,
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON，不输出表格")] = False,
) -> None:
    """统计指令集：行数、标签、长度、时间的表格，以及 PNG 图片。任何工具生成的指令集都可以看。"""
    from fintunnel_training.dataset.looking.looked import read_splits
    from fintunnel_training.dataset.looking.stats import character_lengths, describe, load_counter, token_lengths
    from fintunnel_training.dataset.looking.stats_tables import length_figures, tables

    looked = read_splits(data)
    folder = _folder(out if out is not None else data.with_suffix(".stats"))
    figures = describe(looked)
    tokenizer, notes = load_counter(base)
    rows = looked.all_rows()
    in_characters = character_lengths(rows)
    in_tokens = token_lengths(rows, tokenizer) if tokenizer is not None else None
    figures["lengths"] = {
        "characters": length_figures(in_characters),
        "tokens": length_figures(in_tokens) if in_tokens is not None else None,
    }

    from fintunnel_training.dataset.looking.plots import plot_labels_over_time, plot_lengths, plot_mix

    plots = [folder / "labels_over_time.png"]
    if not plot_labels_over_time(looked, plots[0]):
        plots.clear()
        notes.append("没有带时间和标签的行，不画标签随时间的变化。")
    lengths_png = folder / ("character_lengths.png" if in_tokens is None else "token_lengths.png")
    plot_lengths(in_tokens or in_characters, lengths_png, in_tokens=in_tokens is not None)
    plot_mix(looked, folder / "mix.png")
    plots += [lengths_png, folder / "mix.png"]
    figures["surprise"], surprise_notes = _surprise(looked, folder / "surprise_vs_reaction.png", plots)
    notes += surprise_notes
    figures["plots"] = [str(path) for path in plots]
    if as_json:
        typer.echo(json.dumps(figures | {"notes": notes}, ensure_ascii=False, indent=2))
        return
    console = _console(no_color=False)
    for table in tables(figures):
        console.print(table)
    if figures["unnatural_training"] == "balanced":
        typer.echo("训练集经过均衡/抽样，标签的份额不是自然分布；自然分布见验证集和测试集。")
    elif figures["unnatural_training"] == "sampled":
        typer.echo("训练集经过抽样，标签的份额不一定是自然分布。")
    for note in notes:
        typer.echo(note)
    for path in plots:
        typer.echo(f"图片：{path}")


def _surprise(looked: Looked, path: Path, plots: list[Path]) -> tuple[dict[str, Any] | None, list[str]]:
    from fintunnel_training.dataset.looking.surprise import correlation, has_reactions, surprises

    if not has_reactions(looked):
        return None, ["行里没有 meta.reaction，不画数据意外与金价反应（fintunnel dataset build 生成的文件才有）。"]
    points = surprises(looked)
    if not points:
        return None, ["没有同时带公布值、预期、前值且对黄金方向明确的数据，不画数据意外与金价反应。"]
    from fintunnel_training.dataset.looking.stats import unnatural_training
    from fintunnel_training.dataset.looking.surprise_plot import plot_surprises

    plot_surprises(points, path, unnatural_training=unnatural_training(looked) is not None)
    plots.append(path)
    r = correlation(points)
    said = "太少，不算相关系数" if r is None else f"相关系数 r = {r:+.2f}"
    return {"n": len(points), "r": r}, [f"数据意外与金价反应：n = {len(points)}，{said}。"]


def _folder(folder: Path) -> Path:
    from fintunnel_training.errors import DataError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"无法建立图片目录 {folder}：{system_reason(error)}。请用 --out 换一个目录。") from error
    return folder


def preview(
    data: Annotated[Path, typer.Argument(help="指令集 X.jsonl")],
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="看几行")] = 3,
    split: Annotated[_Split, typer.Option(help="看哪个划分")] = _Split.TRAIN,
    kind: Annotated[_Kind | None, typer.Option(help="只看一种")] = None,
    seed: Annotated[int | None, typer.Option(help="随机抽取；默认看前几行")] = None,
    base: _Base = None,
    no_color: _NoColor = False,
) -> None:
    """在终端里看指令集的前几行：指令、输入、答案。任何工具生成的指令集都可以看。"""
    from fintunnel_training.dataset.looking.looked import read_rows
    from fintunnel_training.dataset.looking.preview import choose, row_panel
    from fintunnel_training.dataset.looking.stats import load_counter, token_lengths
    from fintunnel_training.dataset.looking.terminal_text import visible
    from fintunnel_training.errors import OptionError
    from fintunnel_training.instructions import split_paths

    path = split_paths(data)[split]
    if path != data and data.is_file() and not path.is_file():
        raise OptionError(f"没有 {path}：{data} 旁边没有这个划分。去掉 --split 可看 {data.name} 本身。")
    rows, bad = read_rows(path)
    chosen = choose(rows, count, kind=kind, seed=seed)
    tokenizer = load_counter(base)[0] if base is not None else None
    lengths = [length.whole for length in token_lengths(chosen, tokenizer)] if tokenizer is not None else None
    console = _console(no_color=no_color)
    numbers = {id(row): number for number, row in enumerate(rows, 1)}
    for position, row in enumerate(chosen):
        title = f" {visible(path.name)}  第 {numbers[id(row)]} / {len(rows)} 行 "
        tokens = lengths[position] if lengths is not None else None
        console.print(row_panel(row, title, min(console.width, _WIDEST), tokens=tokens))
    if bad:
        typer.echo(f"另有 {bad} 行不是带 instruction 和 output 的 JSON，没有计入行号。", err=True)


def _console(*, no_color: bool) -> Console:
    """Rows are data: no markup, no emoji codes, no guessing what is a number. Without colour, no escape codes."""
    from rich.console import Console

    plain = no_color or bool(os.environ.get("NO_COLOR"))
    return Console(color_system=None if plain else "auto", markup=False, emoji=False, highlight=False, soft_wrap=False)

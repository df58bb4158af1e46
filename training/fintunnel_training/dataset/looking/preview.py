"""One row as a person reads it in a terminal: instruction, input with its parts, answer with its labels.

Texts of rows are untrusted: control characters and invisible ones are shown as `\\x1b`, markup is text.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from fintunnel_training.dataset.looking.looked import OTHER, Row, event_key, named
from fintunnel_training.dataset.looking.terminal_text import visible, wrap
from fintunnel_training.errors import OptionError

__all__ = ["KINDS_ZH", "SPLITS_ZH", "STYLES_ZH", "choose", "row_panel"]

KINDS_ZH = {"news": "新闻", "market": "市场分析", "report": "财报问答"}
STYLES_ZH = {"json": "JSON", "news_prose": "文字", "market_prose": "文字"}
SPLITS_ZH = {"train": "训练集", "val": "验证集", "test": "测试集"}

# Not red and green: in China red is up, elsewhere it is down, and some cannot tell the two apart.
_CLASSES = {
    "low": ("低", "dim"),
    "medium": ("中", "bold"),
    "high": ("高", "bold magenta"),
    "bearish": ("利空", "bold yellow"),
    "neutral": ("中性", "bold"),
    "bullish": ("利好", "bold bright_blue"),
}
_SIGNALS = {"priced_in": "预期兑现", "wait_and_see": "观望"}
_PARTS = re.compile(r"(?P<label>发布|重要性|消息|数据|行情)：|(?P<passage>\[\d+\] 《[^》]*》(?:第\d+页)?：)")
_TAG = re.compile(r"</?(?:news|passages|question)>")
_LABEL_STYLES = {"消息": "bold cyan", "数据": "bold yellow", "行情": "bold green"}


def choose(rows: Sequence[Row], count: int, *, kind: str | None = None, seed: int | None = None) -> list[Row]:
    """The first `count` rows, in the order of the file; with a seed, `count` rows drawn at random, in that order.

    Raises:
        DataError: no row is of this kind.
    """
    chosen = [row for row in rows if kind is None or named(row, "kind") == kind]
    if not chosen:
        there = Counter(named(row, "kind") for row in rows)
        listed = "，".join(f"{visible(KINDS_ZH.get(name, name))} {n} 行" for name, n in there.most_common(5))
        raise OptionError(f"这个文件里没有“{KINDS_ZH.get(kind or '', kind)}”类型的行（有：{listed}）")
    if seed is None:
        return chosen[:count]
    numbers = sorted(random.Random(seed).sample(range(len(chosen)), min(count, len(chosen))))
    return [chosen[number] for number in numbers]


def row_panel(row: Row, title: str, width: int, *, tokens: int | None = None) -> RenderableType:
    """`width`: columns of the whole panel. `tokens`: of the whole conversation, where a tokenizer counted them."""
    inner = width - 4
    parts: list[RenderableType] = [
        *_section("指令 instruction", wrap(Text(visible(row["instruction"]), "dim"), inner), inner),
        *_section("输入 input", _input(row["input"], inner), inner),
        *_section("答案 output", _answer(row["output"], inner), inner),
        wrap(Text(_facts(row, tokens), "dim"), inner),
    ]
    return Panel(Group(*parts), title=Text(title), title_align="left", width=width, border_style="blue")


def _section(name: str, body: Text, width: int) -> list[RenderableType]:
    rule = "─" * max(width - cell_len(name) - 4, 0)
    return [Text(f"── {name} {rule}", "blue", no_wrap=True), body]


def _input(text: str, width: int) -> Text:
    shown = Text()
    for line in visible(text).split("\n"):
        match = _PARTS.match(line)
        styled = Text(line)
        if match and match["label"]:
            styled.stylize(_LABEL_STYLES.get(match["label"], "bold"), 0, match.end())
        elif match and match["passage"]:
            styled.stylize("bold cyan", 0, match.end())
        styled.highlight_regex(_TAG, "dim")
        shown.append_text(styled).append("\n")
    shown.rstrip()
    return wrap(shown, width) if shown else Text("（空）", "dim")


def _answer(text: str, width: int) -> Text:
    """Labels in words and colours where the answer is FinTunnel's JSON; anything else as it stands."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    shown = Text()
    if isinstance(answer, dict) and answer.keys() == {"impact", "direction", "signals", "rationale"}:
        for name, field in (("影响", "impact"), ("方向", "direction")):
            word, style = _CLASSES.get(str(answer[field]), (visible(str(answer[field])), "reverse"))
            shown.append(f"{name} ").append(word, style).append("  ")
        shown.append("信号 ").append_text(_signals(answer["signals"]))
        shown.append("\n理由 ", "bold").append(visible(str(answer["rationale"])))
    elif isinstance(answer, dict) and answer.keys() == {"citations", "answer"}:
        cited = answer["citations"] if isinstance(answer["citations"], list) else [answer["citations"]]
        numbers = " ".join(f"[{number}]" for number in cited) or "无"
        shown.append("引用 ").append(visible(numbers), "bold cyan")
        shown.append("\n回答 ", "bold").append(visible(str(answer["answer"])))
    else:
        shown.append(visible(text))
    return wrap(shown, width)


def _signals(signals: Any) -> Text:
    if signals is None:
        return Text("无行情，不判断", "dim")
    if not isinstance(signals, dict):
        return Text(visible(str(signals)), "reverse")
    on = [_SIGNALS.get(name, visible(name)) for name, value in signals.items() if value]
    return Text("、".join(on), "bold cyan") if on else Text("都没有", "dim")


def _facts(row: Row, tokens: int | None) -> str:
    style = named(row, "style")
    facts = [
        ("事件", event_key(row)),
        ("划分", SPLITS_ZH.get(named(row, "split"))),
        ("写法", None if style == OTHER else STYLES_ZH.get(style, style)),
        ("长度", f"{len(row['instruction']) + len(row['input']) + 1}+{len(row['output'])} 字"),
        ("token", None if tokens is None else str(tokens)),
    ]
    return visible("  ".join(f"{name} {value}" for name, value in facts if value))

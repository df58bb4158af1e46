"""The dataset's card as the report shows it. It is JSON that was written elsewhere: what cannot be read is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.reproduction import source_name
from fintunnel_training.dataset.card_markdown import BASELINE_ZH, DROPPED_ZH
from fintunnel_training.instructions import SPLITS

__all__ = ["DataBlock", "card_blocks", "edges_lines"]

_SPLITS = {"train": ("训练集", "Training"), "val": ("验证集", "Validation"), "test": ("测试集", "Test")}
_KINDS = {"news": ("新闻", "News"), "market": ("市场分析", "Market"), "report": ("财报问答", "Reports")}
_BASELINES_EN = {
    "majority": "majority class",
    "tfidf_linear_svc": "character TF-IDF + LinearSVC",
    "logistic_regression_high": "logistic regression (moves before, hour)",
}
_MEASURES = {"macro_f1": ("macro-F1", "macro-F1"), "roc_auc": ("AUC（是否为“高”）", "AUC (high or not)")}


@dataclass
class DataBlock:
    """A title, and lines or a table under it; `head` is empty where there is no table."""

    title: str
    lines: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def card_blocks(card: dict[str, Any], say: Say) -> list[DataBlock]:
    blocks = []
    parts: tuple[tuple[str, Callable[[dict[str, Any], Say], DataBlock | None]], ...] = (
        (say("来源", "Source"), _source),
        (say("划分与数目", "Splits and counts"), _splits),
        (say("标签的含义", "What the labels mean"), _edges),
        (say("去掉的事件", "What was left out"), _dropped),
        (say("数据卡里的基线（用全部训练事件）", "The card's baselines (fitted on all training events)"), _baselines),
        (say("教师模型", "Teacher"), _teacher),
        (say("已知局限", "Known limits"), _limits),
    )
    for title, part in parts:
        try:
            block = part(card, say)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            block = DataBlock("", [say("数据卡的这一部分读不出来。", "This part of the card cannot be read.")])
        if block is not None:
            block.title = title
            blocks.append(block)
    return blocks


def edges_lines(edges: dict[str, Any], say: Say) -> list[str]:
    """What the classes mean, from an adapter's or a card's edges.

    Raises:
        KeyError, TypeError, ValueError: they are not the edges of the contract.
    """
    minutes = int(edges.get("horizon_min", 15))
    impact, direction = ([float(edge) for edge in edges[name]] for name in ("impact", "direction"))
    before, wide, still = (
        f"{float(edges[name]) * 100:.3f}%"
        for name in ("priced_in_pre_return", "wait_and_see_volatility", "wait_and_see_pre_return")
    )
    return [
        say(
            f"r 是发布后 {minutes} 分钟的收益，m 是此前 10 天同样长度涨跌幅的中位数；分界只取自训练时段。",
            f"r: return over the {minutes} minutes after publication; m: median absolute move of that length "
            "over the 10 "
            "days before; edges come from the training period alone.",
        ),
        say(
            f"影响程度 = |r|/m：低 < {impact[0]:.3f} ≤ 中 < {impact[1]:.3f} ≤ 高。",
            f"Impact = |r|/m: low < {impact[0]:.3f} ≤ medium < {impact[1]:.3f} ≤ high.",
        ),
        say(
            f"短线方向 = r/m：利空 < {direction[0]:.3f} ≤ 中性 < {direction[1]:.3f} ≤ 利好。",
            f"Direction = r/m: bearish < {direction[0]:.3f} ≤ neutral < {direction[1]:.3f} ≤ bullish.",
        ),
        say(
            f"预期兑现：此前涨跌 ≥ {before}，且与消息方向一致（或符合预期）。观望：此前波幅 ≥ {wide}，且涨跌 ≤ "
            f"{still}。",
            f"Priced in: the move before is ≥ {before} and points the way of the news (or it was as expected). "
            "Wait and "
            f"see: range before ≥ {wide}, move ≤ {still}.",
        ),
    ]


def _source(card: dict[str, Any], say: Say) -> DataBlock:
    lines = [
        say(
            f"{source_name(card)}；标的 {card['ticker']}，{card['price_bars']:,} 根分钟线，读到 "
            f"{card['events_read']:,} 条事件。",
            f"{source_name(card)}; ticker {card['ticker']}, {card['price_bars']:,} minute bars, "
            f"{card['events_read']:,} events "
            "read.",
        )
    ]
    if card.get("source_sha256"):
        lines.append(f"SHA-256 {card['source_sha256']}")
    return DataBlock("", [*lines, *map(str, card.get("notes") or [])])


def _splits(card: dict[str, Any], say: Say) -> DataBlock:
    head = [
        say("划分", "Split"),
        say("事件", "Events"),
        say("有行情", "With context"),
        say("行", "Rows"),
        *(say(*words) for words in _KINDS.values()),
        say("时段（UTC）", "Period (UTC)"),
    ]
    rows = [
        [
            say(*_SPLITS[split]),
            f"{card['events'][split]:,}",
            f"{card['events_with_context'][split]:,}",
            f"{card['rows'][split]:,}",
            *(f"{card['rows_by_kind'].get(kind, {}).get(split, 0):,}" for kind in _KINDS),
            " – ".join(str(at)[:16].replace("T", " ") for at in card["periods_utc"][split]),
        ]
        for split in SPLITS
    ]
    gap = say(
        f"按时间先后划分，之间空出 {card['embargo_min']} 分钟；相近的文字只留在一边。",
        f"Split by time with a gap of {card['embargo_min']} minutes; near-duplicates stand on one side.",
    )
    return DataBlock("", [gap], head, rows)


def _edges(card: dict[str, Any], say: Say) -> DataBlock:
    return DataBlock("", edges_lines(card["edges"], say))


def _dropped(card: dict[str, Any], say: Say) -> DataBlock | None:
    dropped = card["events_dropped"]
    rows = [[say(DROPPED_ZH.get(reason, reason), reason), f"{count:,}"] for reason, count in dropped.items()]
    return DataBlock("", [], [say("原因", "Reason"), say("数目", "Count")], rows) if rows else None


def _baselines(card: dict[str, Any], say: Say) -> DataBlock | None:
    found = card.get("baselines")
    if not found:
        return DataBlock("", [say("数据卡里没有基线。", "The card has no baselines.")])
    rows = []
    for task, title in (("impact", ("影响程度", "Impact")), ("direction", ("短线方向", "Direction"))):
        for name, figure in found.get(task, {}).items():
            low, high = figure["interval"]
            measure = figure["measure"]
            rows.append(
                [
                    say(*title),
                    say(BASELINE_ZH.get(name, name), _BASELINES_EN.get(name, name)),
                    say(*_MEASURES.get(measure, (measure, measure))),
                    f"{figure['value']:.3f} [{low:.3f}, {high:.3f}]",
                ]
            )
    line = say(
        f"在 {found['test_events']:,} 条测试事件（{found['test_days']} 天）上；它们用了全部训练事件，"
        "不只是指令集里的那些。",
        f"On {found['test_events']:,} test events ({found['test_days']} days); fitted on all training events, "
        "not only on "
        "those of the instruction set.",
    )
    head = [
        say("任务", "Task"),
        say("基线", "Baseline"),
        say("指标", "Measure"),
        say("值 [95% 区间]", "Value [95 % interval]"),
    ]
    return DataBlock("", [line], head, rows)


def _teacher(card: dict[str, Any], say: Say) -> DataBlock | None:
    del say
    return DataBlock("", [str(card["teacher"]["summary"])]) if card.get("teacher") else None


def _limits(card: dict[str, Any], say: Say) -> DataBlock | None:
    del say
    return DataBlock("", [str(limit) for limit in card["known_limits"]]) if card.get("known_limits") else None

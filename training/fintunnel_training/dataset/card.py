"""The dataset card: where the rows come from, what was dropped at which step, what the classes mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import fintunnel
from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS, Edges

from fintunnel_training.dataset.labels import LabelledEvent
from fintunnel_training.dataset.market import WINDOW_MIN
from fintunnel_training.dataset.options import BuildOptions, Funnel
from fintunnel_training.dataset.rows import Row
from fintunnel_training.dataset.sources.records import Market, from_minute
from fintunnel_training.instructions import SPLITS

__all__ = ["KNOWN_LIMITS", "make_card"]

KNOWN_LIMITS = (
    "理由由规则按发布前已知的信息写成（或由教师模型改写），不是人工标注；它不解释之后实际发生的涨跌。",
    "短线方向接近随机，基线一节给出了参照，请勿据此交易。",
    "反应取自分钟线，同一分钟内可能有别的消息，标签说的是消息之后的走势，不证明是这条消息造成的。",
    "财报问答中的公司、黄金市场数字是模拟的（--reports 读入的除外）。",
    "验证集和测试集只有新闻（JSON）和财报问答；市场分析和散文形式只在训练集里。",
)


def make_card(
    market: Market,
    parts: dict[str, list[LabelledEvent]],
    rows: dict[str, list[Row]],
    *,
    edges: Edges,
    funnel: Funnel,
    options: BuildOptions,
    embargo: int,
) -> dict[str, Any]:
    """Everything that one needs to know to judge or rebuild the rows; counts are per split. `baselines` and hashes
    are added by those who compute them."""

    def period(part: Sequence[LabelledEvent]) -> list[str]:
        return [from_minute(item.event.minute).isoformat() for item in (*part[:1], *part[-1:])]

    used = {row["meta"]["event_id"] for row in rows["train"] if "event_id" in row["meta"]}
    return {
        "fintunnel_version": fintunnel.__version__,
        "source": market.source,
        "notes": market.notes,
        "ticker": market.ticker,
        "seed": options.seed,
        "mix": [round(share, 6) for share in (options.mix.news, options.mix.market, options.mix.report)],
        "balance": options.effective_balance,
        "num_samples": options.num_samples or "all",
        "since": options.since.date().isoformat() if options.since else None,
        "until": options.until.date().isoformat() if options.until else None,
        "test_from": options.test_from.date().isoformat() if options.test_from else None,
        "prompt_version": PROMPT_VERSION,
        "events_read": len(market.events),
        "price_bars": len(market.prices),
        "events_dropped": dict(sorted(funnel.dropped.items())),
        "reactions": dict(sorted(funnel.reactions.items())),
        "rows_left_out_as_repeated": funnel.repeated_rows,
        "events": {split: len(part) for split, part in parts.items()},
        "events_with_context": {split: sum(item.context is not None for item in part) for split, part in parts.items()},
        "training_events_used": len(used),
        "periods_utc": {split: period(part) for split, part in parts.items()},
        "embargo_min": embargo,
        "horizon_min": market.horizon_min,
        "window_min": WINDOW_MIN,
        "edges": edges.model_dump(mode="json"),
        "rows": {split: len(part) for split, part in rows.items()},
        "rows_by_kind": _count(rows, lambda meta: meta["kind"]),
        "rows_by_style": _count(rows, lambda meta: meta["style"]),
        "rows_without_context": {
            split: sum("labels" in row["meta"] and "context" not in row["meta"]["request"] for row in part)
            for split, part in rows.items()
        },
        "impact": _count(rows, lambda meta: meta.get("labels", {}).get("impact"), IMPACTS),
        "direction": _count(rows, lambda meta: meta.get("labels", {}).get("direction"), DIRECTIONS),
        "signals": _count(rows, _signal),
        "known_limits": list(KNOWN_LIMITS),
    }


def _signal(meta: dict[str, Any]) -> str | None:
    signals = meta.get("labels", {}).get("signals")
    if signals is None:
        return None
    return "+".join(name for name in SIGNALS if signals[name]) or "neither"


def _count(
    rows: dict[str, list[Row]], key: Callable[[dict[str, Any]], str | None], order: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """Rows per value of `key` of their `meta`, and split: {value: {split: rows}}, those of `order` first; rows without
    a value are left out."""
    table: dict[str, dict[str, int]] = {value: dict.fromkeys(SPLITS, 0) for value in order}
    for split in SPLITS:
        values = Counter(value for row in rows[split] if (value := key(row["meta"])) is not None)
        for value in sorted(values):
            table.setdefault(value, dict.fromkeys(SPLITS, 0))[split] = values[value]
    return table

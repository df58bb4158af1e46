"""The dataset card: where the rows come from, what was dropped, what the classes mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import HORIZON_MIN, Edges

from fintunnel_training.dataset.database import Market, from_minute
from fintunnel_training.dataset.labels import LabelledEvent
from fintunnel_training.dataset.market import WINDOW_MIN
from fintunnel_training.dataset.rows import Row
from fintunnel_training.instructions import SPLITS

__all__ = ["DROPPED_ZH", "card_markdown", "make_card"]

DROPPED_ZH = {
    "unreadable time": "时间无法识别",
    "duplicate id": "编号重复",
    "calendar entry without an actual figure": "日历数据没有公布值",
    "empty text": "没有正文",
    "price bar with an empty or non-positive price": "价格缺失或不为正（价格行）",
    "no reaction recorded": "event_impacts 里没有对应的反应",
    "same text as an earlier event": "与更早的事件正文相同",
    "too few price moves in the 10 days before": "之前 10 天的价格不足",
    "within the embargo between splits": "落在划分之间的间隔里",
}


def make_card(
    market: Market,
    parts: dict[str, list[LabelledEvent]],
    rows: dict[str, list[Row]],
    *,
    edges: Edges,
    dropped: Counter[str],
    seed: int,
    embargo_min: int,
) -> dict[str, Any]:
    """Everything that one needs to know to judge or rebuild the rows; counts are per split."""

    def period(part: Sequence[LabelledEvent]) -> list[str]:
        return [from_minute(item.event.minute).isoformat() for item in (*part[:1], *part[-1:])]

    return {
        "ticker": market.ticker,
        "seed": seed,
        "prompt_version": PROMPT_VERSION,
        "events_read": len(market.events),
        "events_dropped": dict(sorted(dropped.items())),
        "events": {split: len(part) for split, part in parts.items()},
        "events_with_context": {split: sum(item.context is not None for item in part) for split, part in parts.items()},
        "periods_utc": {split: period(part) for split, part in parts.items()},
        "embargo_min": embargo_min,
        "horizon_min": HORIZON_MIN,
        "window_min": WINDOW_MIN,
        "edges": edges.model_dump(mode="json"),
        "rows": {split: len(part) for split, part in rows.items()},
        "rows_by_kind": _count(rows, lambda row: row["meta"]["kind"]),
        "rows_by_style": _count(rows, lambda row: row["meta"]["style"]),
        "rows_without_context": {
            split: sum("labels" in row["meta"] and "context" not in row["meta"]["request"] for row in part)
            for split, part in rows.items()
        },
        "impact": _count(rows, lambda row: row["meta"].get("labels", {}).get("impact")),
        "direction": _count(rows, lambda row: row["meta"].get("labels", {}).get("direction")),
    }


def _count(rows: dict[str, list[Row]], key: Callable[[Row], str | None]) -> dict[str, dict[str, int]]:
    """Rows per value of `key` and split: {value: {split: rows}}; rows without a value are left out."""
    table: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        values = Counter(value for row in rows[split] if (value := key(row)) is not None)
        for value in sorted(values):
            table.setdefault(value, dict.fromkeys(SPLITS, 0))[split] = values[value]
    return table


def card_markdown(card: dict[str, Any]) -> str:
    """The card for people, in Chinese."""

    def table(title: str, counts: dict[str, dict[str, int]]) -> list[str]:
        lines = [f"| {title} | train | val | test |", "| --- | ---: | ---: | ---: |"]
        return (
            lines
            + [f"| {name} | {' | '.join(str(row[split]) for split in SPLITS)} |" for name, row in counts.items()]
            + [""]
        )

    edges = card["edges"]
    lines = [
        "# 数据卡",
        "",
        f"标的 {card['ticker']}，随机种子 {card['seed']}，提示词版本 {card['prompt_version']}，"
        f"源数据库 SHA-256 `{card['source_sha256'][:16]}…`。",
        "",
        f"读到 {card['events_read']} 条事件；去掉的："
        + (
            "；".join(f"{DROPPED_ZH.get(reason, reason)} {count}" for reason, count in card["events_dropped"].items())
            or "无"
        )
        + "。",
        "",
        "| 划分（按时间，间隔 " + str(card["embargo_min"]) + " 分钟） | 事件 | 行 | 时段（UTC） |",
        "| --- | ---: | ---: | --- |",
        *(
            f"| {split} | {card['events'][split]} | {card['rows'][split]} | {' – '.join(card['periods_utc'][split])} |"
            for split in SPLITS
        ),
        "",
        *table("类型", card["rows_by_kind"]),
        *table("影响", card["impact"]),
        *table("方向", card["direction"]),
        f"标签的含义（r 为发布后 {card['horizon_min']} 分钟收益，m 为此前常见波动；分位数只取自训练时段）：",
        "",
        f"- 影响 = |r|/m，分界 {edges['impact'][0]:.3f} 和 {edges['impact'][1]:.3f}",
        f"- 方向 = r/m，分界 {edges['direction'][0]:.3f} 和 {edges['direction'][1]:.3f}",
        f"- 预期兑现：|此前涨跌| ≥ {edges['priced_in_pre_return'] * 100:.3f}% 且与消息方向一致（或符合预期）",
        f"- 观望：波幅 ≥ {edges['wait_and_see_volatility'] * 100:.3f}% 且 |此前涨跌| ≤ "
        f"{edges['wait_and_see_pre_return'] * 100:.3f}%",
        "",
        "已知局限：理由由规则写成，只依据发布前已知的信息；财报问答里的公司和数字是模拟的；"
        "15 分钟方向接近随机，请勿据此交易。",
    ]
    return "\n".join(lines) + "\n"

"""The dataset card for people, in Chinese."""

from __future__ import annotations

from typing import Any

from fintunnel.chinese import LABELS_ZH

from fintunnel_training.instructions import SPLITS

__all__ = ["BASELINE_ZH", "DROPPED_ZH", "NO_EVENTS", "card_markdown"]

# What these count are rows of prices, reactions and files, not events.
NO_EVENTS = {
    "price bar that is empty, not positive or has its low above its high",
    "second price bar of a minute",
    "recorded reaction that is no number",
    "recorded reaction over another span of time",
    "malformed row of the news file",
}

DROPPED_ZH = {
    "unreadable time": "时间无法识别（要有日期和钟点）",
    "duplicate id": "编号重复",
    "calendar entry without an actual figure": "日历数据没有公布值",
    "empty text": "没有正文",
    "price bar that is empty, not positive or has its low above its high": "价格缺失、不为正或最低高于最高（价格行）",
    "second price bar of a minute": "同一分钟的第二根价格（价格行）",
    "recorded reaction that is no number": "记录的反应不是数（改由价格计算）",
    "recorded reaction over another span of time": "记录的反应跨了别的时间段（改由价格计算）",
    "malformed row of the news file": "新闻文件里格式不对的行",
    "outside --since and --until": "不在 --since 和 --until 之间",
    "digest of several pieces of news": "多条消息的汇总",
    "market wrap": "收盘综述",
    "advert or teaser": "广告或导读",
    "no reaction recorded, and no prices to compute it from": "没有记录反应，也没有价格可算",
    "same text as an earlier event": "与更早的事件内容相同",
    "too few price moves in the 10 days before": "之前 10 天的价格不足",
    "within the embargo between splits": "落在划分之间的间隔里",
    "near-duplicate of a text in an earlier split": "与更早划分里的正文近似",
}
_KIND_ZH = {"news": "新闻", "market": "市场分析", "report": "财报问答"}
_STYLE_ZH = {"json": "JSON", "news_prose": "新闻散文", "market_prose": "市场散文"}
_LABEL_ZH = {
    **LABELS_ZH,
    "priced_in+wait_and_see": "两者都有",
    "neither": "都没有",
}
BASELINE_ZH = {
    "majority": "全猜多数类",
    "tfidf_linear_svc": "字符 TF-IDF + LinearSVC",
    "logistic_regression_high": "逻辑回归（此前行情、时刻）",
}
_MEASURE_ZH = {"macro_f1": "macro-F1", "roc_auc": "AUC（是否为“高”）"}
_TASK_ZH = {"direction": "方向", "impact": "影响"}
_BALANCE_ZH = {
    "none": "不均衡（自然比例）",
    "impact": "按影响均衡",
    "direction": "按方向均衡",
    "both": "按影响与方向均衡",
}


def card_markdown(card: dict[str, Any]) -> str:
    """The card as Markdown. `card` is what `make_card` gave, with hashes and, where they were measured, baselines."""
    lines = ["# 数据卡", "", *_source(card), *_counts(card)]
    lines += _table("类型", card["rows_by_kind"], _KIND_ZH) + _table("形式", card["rows_by_style"], _STYLE_ZH)
    lines += [f"训练集的新闻行{_BALANCE_ZH[card['balance']]}，市场分析行按信号轮流；验证集和测试集保持自然比例。", ""]
    for title in ("impact", "direction", "signals"):
        lines += _table({"impact": "影响", "direction": "方向", "signals": "信号"}[title], card[title], _LABEL_ZH)
    lines += _reports(card.get("reports"))
    lines += _edges(card) + _baselines(card.get("baselines")) + _teacher(card.get("teacher"))
    lines += ["## 已知局限", "", *(f"- {limit}" for limit in card["known_limits"]), ""]
    if card.get("files_sha256"):
        lines += ["## 文件（SHA-256）", "", *(f"- `{name}`：`{sha}`" for name, sha in card["files_sha256"].items()), ""]
    return "\n".join(lines)


def _source(card: dict[str, Any]) -> list[str]:
    sha256 = card.get("source_sha256")
    lines = [
        f"- 来源：`{card['source']}`" + (f"，SHA-256 `{sha256}`" if sha256 else ""),
        f"- 标的 {card['ticker']}，价格 {card['price_bars']:,} 根分钟线",
        f"- 参数：样本数 {card['num_samples']}，比例 {'/'.join(f'{share * 100:g}' for share in card['mix'])}，"
        f"随机种子 {card['seed']}，反应窗口 {card['horizon_min']} 分钟，提示词版本 {card['prompt_version']}，"
        f"FinTunnel {card['fintunnel_version']}",
    ]
    if card["since"] or card["until"]:
        lines.append(f"- 只取 {card['since'] or '最早'} 至 {card['until'] or '最晚'}（北京时间）")
    if news := card.get("news"):
        columns = "，".join(f"{name}={column}" for name, column in news["columns"].items()) or "按通常的列名"
        lines.append(f"- 新闻文件：`{news['file']}`，SHA-256 `{news['sha256']}`，列 {columns}，时区 {news['zone']}")
    return [*lines, *(f"- {note}" for note in card["notes"]), ""]


def _counts(card: dict[str, Any]) -> list[str]:
    dropped, reactions = card["events_dropped"], card["reactions"]
    return [
        "## 每一步的数目",
        "",
        f"读到可用的事件 {card['events_read']:,} 条；划分后用 {sum(card['events'].values()):,} 条。"
        f"反应取自记录 {reactions.get('recorded', 0):,} 条，由价格计算 {reactions.get('computed', 0):,} 条。"
        f"训练集用到 {card['training_events_used']:,} 条不同的事件。",
        "",
        "| 去掉或略过的原因 | 数目 |",
        "| --- | ---: |",
        *(f"| {DROPPED_ZH.get(reason, reason)} | {count:,} |" for reason, count in dropped.items()),
        "",
        f"| 划分（按时间，间隔 {card['embargo_min']} 分钟） | 事件 | 有行情 | 行 | 时段（UTC） |",
        "| --- | ---: | ---: | ---: | --- |",
        *(
            f"| {split} | {card['events'][split]:,} | {card['events_with_context'][split]:,} | "
            f"{card['rows'][split]:,} | {' – '.join(card['periods_utc'][split])} |"
            for split in SPLITS
        ),
        "",
    ]


def _table(title: str, counts: dict[str, dict[str, int]], names: dict[str, str]) -> list[str]:
    return [
        f"| {title} | train | val | test |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {names.get(name, name)} | {' | '.join(f'{row[s]:,}' for s in SPLITS)} |" for name, row in counts.items()),
        "",
    ]


def _reports(reports: dict[str, Any] | None) -> list[str]:
    if reports is None:
        return []
    counts = "，".join(f"{split} {reports['rows'][split]}" for split in SPLITS)
    files = [f"- {line}" for line in [*reports["files"], *reports["skipped"]]]
    return ["## 读入的财报", "", f"{reports['passages']} 段资料；由它们出的题：{counts}。", "", *files, ""]


def _edges(card: dict[str, Any]) -> list[str]:
    edges = card["edges"]
    priced_in, wide, still = (
        f"{edges[name] * 100:.3f}%"
        for name in ("priced_in_pre_return", "wait_and_see_volatility", "wait_and_see_pre_return")
    )
    return [
        "## 标签的含义",
        "",
        f"r 为发布后 {card['horizon_min']} 分钟收益，m 为此前 10 天同样长度涨跌幅的中位数；分位数只取自训练时段。",
        "",
        f"- 影响 = |r|/m，低、中、高的分界 {edges['impact'][0]:.3f} 和 {edges['impact'][1]:.3f}（50% 与 80% 分位）",
        f"- 方向 = r/m，利空、中性、利好的分界 {edges['direction'][0]:.3f} 和 {edges['direction'][1]:.3f}（三分位）",
        f"- 预期兑现：此前 {card['window_min']} 分钟涨跌 ≥ {priced_in} 且与消息方向一致（或符合预期）",
        f"- 观望：此前 {card['window_min']} 分钟波幅 ≥ {wide} 且涨跌 ≤ {still}",
        "",
    ]


def _baselines(baselines: dict[str, Any] | None) -> list[str]:
    lines = ["## 基线：模型要超过的", ""]
    if baselines is None:
        return [*lines, "测试时段的事件太少，没有计算。", ""]
    lines += [
        f"在全部训练事件上训练，在 {baselines['test_events']:,} 条测试事件（{baselines['test_days']} 天，自然比例）上"
        f"评判；95% 区间按天重抽样 {baselines['resamples']} 次。",
        "",
        "| 任务 | 基线 | 指标 | 值 | 95% 区间 |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    for task, title in _TASK_ZH.items():
        for name, figure in baselines.get(task, {}).items():
            low, high = figure["interval"]
            lines.append(
                f"| {title} | {BASELINE_ZH[name]} | {_MEASURE_ZH[figure['measure']]} | {figure['value']:.3f} | "
                f"{low:.3f} – {high:.3f} |"
            )
    return [*lines, ""]


def _teacher(teacher: dict[str, Any] | None) -> list[str]:
    if teacher is None:
        return []
    return ["## 教师模型", "", teacher["summary"], ""]

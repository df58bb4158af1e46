"""Records become instruction rows: cleaned, labelled, split by time, chosen, rendered. Reads from top to bottom.

A row has `instruction`, `input`, `output` and `meta`; the prompt is instruction + input, `meta` is never trained on.
Rows are a function of the sources, the options and the seed alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fintunnel.wire import Context, Edges

from fintunnel_training.dataset.card import make_card
from fintunnel_training.dataset.choosing import choose_evaluation, choose_training
from fintunnel_training.dataset.cleaning import reason_to_drop
from fintunnel_training.dataset.labels import LabelledEvent, compute_edges
from fintunnel_training.dataset.market import WINDOW_MIN, pre_windows, returns_after, typical_moves
from fintunnel_training.dataset.options import BuildOptions, Funnel
from fintunnel_training.dataset.reports.files import SKIPPED_ZH, ReportLibrary
from fintunnel_training.dataset.reports.rows import file_row_counts, library_summary, report_rows
from fintunnel_training.dataset.rows import Choice, Row, news_row
from fintunnel_training.dataset.sources.records import BEIJING, Event, Market, from_minute
from fintunnel_training.dataset.splits import drop_repeated, embargo_min, split_by_time
from fintunnel_training.errors import DatabaseError
from fintunnel_training.instructions import SPLITS

__all__ = ["BuildOptions", "Dataset", "Funnel", "build_dataset", "label_events", "with_baselines"]

_MIN_TRAINING_EVENTS = 20
_REWORDINGS = 50


@dataclass(frozen=True)
class Dataset:
    """Rows per split, the events that they were made of, and the card: all that one needs to judge or rebuild them."""

    rows: dict[str, list[Row]]
    events: dict[str, list[LabelledEvent]]
    card: dict[str, Any]


def build_dataset(
    market: Market,
    options: BuildOptions | None = None,
    library: ReportLibrary | None = None,
    step: Callable[[str], object] = str,
    second: Executor | None = None,
) -> Dataset:
    """Build training rows, and validation and test rows with the natural mix of classes.

    Args:
        library: passages of the user's own reports; half of the report rows ask about them.
        step: told the name of each step as it begins.
        second: another process, which makes the report rows while this one makes the others; the rows are the same.

    Raises:
        DatabaseError: too few events have a reaction and enough prices before them.
    """
    options = options or BuildOptions()
    funnel = Funnel(Counter(market.skipped))
    step("清洗")
    events = _clean(market, options, funnel.dropped)
    step("行情")
    labelled = drop_repeated(label_events(events, market, funnel), funnel.dropped)
    step("查重与划分")
    parts = split_by_time(labelled, market.horizon_min, funnel.dropped, options.test_from)
    if sum(item.context is not None for item in parts["train"]) < _MIN_TRAINING_EVENTS:
        raise DatabaseError(
            f"可用于训练的事件太少（{len(parts['train'])} 条；{_period(market.events)}）：每条都要有"
            f" {market.horizon_min} 分钟反应，以及之前 {WINDOW_MIN} 分钟和前 10 天内足够的价格。"
            "请换用时间更长的数据库，或放宽 --since/--until。"
        )
    edges = compute_edges(parts["train"], market.horizon_min)

    step("生成")
    news, about_market, reports = options.mix.counts(options.num_samples, len(parts["train"]))
    rng = random.Random(f"{options.seed}/train")
    chosen = {
        "train": choose_training(parts["train"], edges, news, about_market, options.effective_balance, rng),
        **{split: choose_evaluation(parts[split], random.Random(split)) for split in SPLITS[1:]},
    }
    # Validation and test rows are the same for every seed, so that figures on them can be compared.
    seeds = {"train": options.seed, "val": 0, "test": 0}
    count = {split: options.mix.report_rows_beside(len(chosen[split])) for split in SPLITS} | {"train": reports}
    asked = {split: _asked(second, count[split], split, seeds[split], library) for split in SPLITS}
    rows = {
        split: _rows(chosen[split], edges, split, seeds[split], market.horizon_min, funnel) + asked[split]()
        for split in SPLITS
    }
    rng.shuffle(rows["train"])
    card = make_card(
        market, parts, rows, edges=edges, funnel=funnel, options=options, embargo=embargo_min(market.horizon_min)
    )
    if library is not None:
        card["reports"] = {
            "passages": len(library.passages),
            "files": library_summary(library),
            "skipped": [f"{SKIPPED_ZH[reason]}：{'、'.join(names)}" for reason, names in library.skipped.items()],
            "rows": file_row_counts(rows),
        }
    return Dataset(rows, parts, card)


def _asked(
    second: Executor | None, count: int, split: str, seed: int, library: ReportLibrary | None
) -> Callable[[], list[Row]]:
    """What gives the report rows of a split: made meanwhile by `second`, or here and now where it has died."""
    try:
        future = None if second is None else second.submit(report_rows, count, split, seed, library)
    except BrokenExecutor:  # it has died before it was asked
        future = None

    def rows() -> list[Row]:
        try:
            return report_rows(count, split, seed, library) if future is None else future.result()
        except BrokenExecutor:
            return report_rows(count, split, seed, library)

    return rows


def _rows(
    choices: Sequence[Choice], edges: Edges, split: str, seed: int, horizon_min: int, funnel: Funnel
) -> list[Row]:
    """One row a choice. An event that is used again is worded again until its row is another; where its wordings are
    used up the row is left out and counted."""
    rows: list[Row] = []
    seen: set[tuple[str, str, str]] = set()
    for choice in choices:
        for more in range(_REWORDINGS):
            again = replace(choice, use=choice.use + 1000 * more) if more else choice
            row = news_row(again, edges, split, seed, horizon_min)
            words = (row["instruction"], row["input"], row["output"])
            if words not in seen:
                seen.add(words)
                rows.append(row)
                break
        else:
            funnel.repeated_rows += 1
    return rows


def with_baselines(dataset: Dataset, seed: int) -> Dataset:
    """The dataset with the figures in its card that a model has to beat."""
    from fintunnel_training.dataset.baselines import measure_baselines  # scikit-learn takes a second to import

    edges = Edges.model_validate(dataset.card["edges"])
    return replace(dataset, card=dataset.card | {"baselines": measure_baselines(dataset.events, edges, seed)})


def _period(events: Sequence[Event]) -> str:
    if not events:
        return "来源里没有事件"
    first, last = (from_minute(event.minute).astimezone(BEIJING).date() for event in (events[0], events[-1]))
    return f"来源里的事件从 {first} 到 {last}"


def _clean(market: Market, options: BuildOptions, dropped: Counter[str]) -> list[Event]:
    kept = []
    for event in market.events:
        reason = "outside --since and --until" if _outside(event, options) else reason_to_drop(event)
        if reason is None:
            kept.append(event)
        else:
            dropped[reason] += 1
    return kept


def _outside(event: Event, options: BuildOptions) -> bool:
    if options.since is None and options.until is None:
        return False
    day = from_minute(event.minute).astimezone(BEIJING).date()
    return bool((options.since and day < options.since.date()) or (options.until and day > options.until.date()))


def label_events(events: Sequence[Event], market: Market, funnel: Funnel) -> list[LabelledEvent]:
    """The events, in order of time, that have a reaction and a typical move before them, with both and their context.

    A reaction is the recorded one; where none is recorded it is computed from the prices.
    """
    minutes = np.array([event.minute for event in events], dtype=np.int64)
    typical = typical_moves(market.prices, minutes, market.horizon_min)
    pre_return, volatility = pre_windows(market.prices, minutes)
    computed = returns_after(market.prices, minutes, market.horizon_min)
    labelled = []
    for event, move, before, wide, computed_ret in zip(
        events, typical.tolist(), pre_return.tolist(), volatility.tolist(), computed.tolist(), strict=True
    ):
        recorded = market.returns.get(event.id)
        ret = computed_ret if recorded is None else recorded
        if np.isnan(ret):
            funnel.dropped["no reaction recorded, and no prices to compute it from"] += 1
        elif np.isnan(move):
            funnel.dropped["too few price moves in the 10 days before"] += 1
        else:
            funnel.reactions["computed" if recorded is None else "recorded"] += 1
            context = None
            if not np.isnan(before):
                context = Context(
                    ticker=market.ticker,
                    window_min=WINDOW_MIN,
                    pre_return=before,
                    volatility=wide,
                    typical_move=move,
                )
            labelled.append(LabelledEvent(event, ret, ret / move, context))
    return labelled

"""What came after an event decides its label and nothing else in its row."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from fintunnel.cli import main
from fintunnel.prompt import Style
from fintunnel.wire import Edges
from fintunnel_training.dataset.build import build_dataset, label_events
from fintunnel_training.dataset.labels import LabelledEvent, compute_edges
from fintunnel_training.dataset.options import BuildOptions, Funnel
from fintunnel_training.dataset.rows import Choice, Row, news_row
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.dataset.sources.records import Event, Market

from tests.dataset.markets import make_database

STYLES: tuple[Style, ...] = ("json", "news_prose", "market_prose")


def labelled(market: Market, event: Event) -> LabelledEvent | None:
    return next(iter(label_events([event], market, Funnel(Counter()))), None)


def rows_of(item: LabelledEvent, edges: Edges) -> list[Row]:
    """Every row that an event can become, news and market, with and without context: the choice is fixed."""
    choices = [Choice(item, "news", style, with_context=shown) for style in STYLES for shown in (True, False)]
    return [news_row(choice, edges, "train", 42) for choice in [*choices, Choice(item, "market")]]


def with_prices_after(market: Market, minute: int, factor: float) -> Market:
    """Every bar after `minute` moves by `factor`; the bar of the minute itself and all before stay."""
    after = pl.when(pl.col("minute") > minute).then(factor).otherwise(1.0)
    return dataclasses.replace(
        market, prices=market.prices.with_columns(pl.col("open", "high", "low", "close") * after), returns={}
    )


def reason_of(row: Row) -> str:
    """The answer without its labels."""
    if row["meta"]["style"] == "json":
        answer = json.loads(row["output"])
        return f"{answer['signals']} {answer['rationale']}"
    text: str = row["output"]
    return text if row["meta"]["style"] == "market_prose" else text.partition("。")[2]


def assert_only_the_label_changes(market: Market, wanted: int) -> None:
    market = dataclasses.replace(market, returns={})  # every reaction is computed from the prices
    items = [item for event in market.events if (item := labelled(market, event)) is not None]
    edges = compute_edges(items)
    changed = 0
    for item in items[:: max(1, len(items) // (wanted + 20))]:
        before = rows_of(item, edges)
        # Away from what it was: what rose falls by a tenth, and the other way round.
        other = with_prices_after(market, item.event.minute, 0.9 if item.ret > 0 else 1.1)
        again = labelled(other, item.event)
        assert again is not None
        for row, row_again in zip(before, rows_of(again, edges), strict=True):
            assert (row["instruction"], row["input"]) == (row_again["instruction"], row_again["input"])
            assert reason_of(row) == reason_of(row_again)
            old, new = row["meta"].pop("labels"), row_again["meta"].pop("labels")
            assert new["direction"] == ("bearish" if item.ret > 0 else "bullish") != old["direction"]
            assert new["impact"] == "high" and new["signals"] == old["signals"]
            assert row["meta"].pop("reaction") != row_again["meta"].pop("reaction")
            assert row["meta"] == row_again["meta"]
            if row["meta"]["style"] == "market_prose":  # speaks of the signals alone
                assert row["output"] == row_again["output"]
            else:
                assert row["output"] != row_again["output"]
        changed += 1
    assert changed >= wanted


def test_prices_after_an_event_change_its_label_and_nothing_else(tmp_path: Path) -> None:
    """For 200 events, one at a time, in a database with every minute."""
    assert_only_the_label_changes(
        read_database(make_database(tmp_path / "m.db", days=6, events=400, impacts=False)), wanted=200
    )


def test_prices_after_an_event_change_its_label_and_nothing_else_in_a_real_database(shared_database: Path) -> None:
    assert_only_the_label_changes(read_database(shared_database), wanted=200)


def test_the_whole_build_keeps_an_events_question_and_reason(tmp_path: Path) -> None:
    """Everything recomputed, edges included: validation and test rows are chosen without looking at labels."""
    market = read_database(make_database(tmp_path / "m.db", days=8, events=400, impacts=False))
    options = BuildOptions(num_samples=30)
    before = build_dataset(market, options)
    items = [item for split in ("val", "test") for item in before.events[split]]
    for item in items[::12]:
        after = build_dataset(with_prices_after(market, item.event.minute, 0.9 if item.ret > 0 else 1.1), options)
        (row, row_again) = (
            next(
                r for split in ("val", "test") for r in built.rows[split] if r["meta"].get("event_id") == item.event.id
            )
            for built in (before, after)
        )
        assert (row["instruction"], row["input"]) == (row_again["instruction"], row_again["input"])
        assert json.loads(row["output"])["rationale"] == json.loads(row_again["output"])["rationale"]
        assert row["meta"]["labels"]["direction"] != row_again["meta"]["labels"]["direction"]


def test_a_column_that_covers_the_time_after_cannot_be_offered_as_context(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`range_ratio` of the published CSVs: mapped, it is refused; unmapped, it reaches no row."""
    database = make_database(tmp_path / "m.db", days=8, events=300, impacts=False)
    events = read_database(database).events
    lines = ["time,text,range_ratio"]
    lines += [
        f"{1754265600 + 60 * 40 * n},某央行官员第{n}次谈到{event.text},98765{n:03}.4" for n, event in enumerate(events)
    ]
    news = tmp_path / "news.csv"
    news.write_text("\n".join(lines), encoding="utf-8")
    command = ["dataset", "build", "--db", str(database), "--news", str(news), "--out", str(tmp_path / "x.jsonl")]
    for name in ("volatility", "context", "pre_return", "range_ratio"):
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--news-columns", f"{name}=range_ratio"])
        assert stopped.value.code == 2 and "发布之后" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 0
    rows = "".join((tmp_path / name).read_text(encoding="utf-8") for name in ("x.jsonl", "x.val.jsonl", "x.test.jsonl"))
    assert "某央行官员第" in rows and "98765" not in rows and "range_ratio" not in rows

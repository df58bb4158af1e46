"""Which events become rows: what is dropped, where the splits lie, which classes are drawn."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path

import pytest
from fintunnel_training.dataset.build import Dataset, build_dataset
from fintunnel_training.dataset.cleaning import reason_to_drop
from fintunnel_training.dataset.options import Balance, BuildOptions, Mix, parse_mix
from fintunnel_training.dataset.rows import Row
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.dataset.sources.records import Event, Market, to_minute
from fintunnel_training.errors import OptionError

from tests.dataset.markets import make_database


def with_events(market: Market, *added: Event) -> Market:
    events = sorted([*market.events, *added], key=lambda event: event.minute)
    returns = market.returns | {event.id: 0.001 for event in added}
    return dataclasses.replace(market, events=events, returns=returns)


def test_repeated_texts_are_dropped_and_counted(market: Market) -> None:
    event = next(event for event in reversed(market.events) if event.kind == "flash")
    before = build_dataset(market, BuildOptions(20)).card["events_dropped"].get("same text as an earlier event", 0)
    spaced = "【" + "，".join(event.text.split("，")) + " 】"  # marks and spaces do not make another text
    copy = dataclasses.replace(event, id="copy", minute=event.minute + 1, text=spaced)
    card = build_dataset(with_events(market, copy), BuildOptions(20)).card
    assert card["events_dropped"]["same text as an earlier event"] == before + 1


def test_a_repost_never_stands_on_both_sides_of_a_split(market: Market, built: Dataset) -> None:
    text = "国际清算银行在季度评论中称，黄金与国债的相关性已降到本世纪以来的最低水平，央行仍是最大买家"
    opens = [to_minute(built.card["periods_utc"][split][0]) for split in ("train", "val", "test")]
    reposts = [
        Event(f"repost-{n}", "flash", minute + 600, variant, None, None)
        for n, (minute, variant) in enumerate(zip(opens, (text, f"更新：{text}。", text[:-3] + "买盘"), strict=True))
    ]
    dataset = build_dataset(with_events(market, *reposts), BuildOptions(20))
    kept = [item.event.id for part in dataset.events.values() for item in part if item.event.id.startswith("repost")]
    assert kept == ["repost-0"]
    reason = "near-duplicate of a text in an earlier split"
    before = built.card["events_dropped"].get(reason, 0)
    assert dataset.card["events_dropped"][reason] == before + 2


def test_digests_adverts_and_empty_texts_are_dropped_with_their_reason(market: Market) -> None:
    middle = market.events[150].minute
    texts = {
        "【今日重点关注的财经数据与事件】① 20:30 某数据② 22:00 某讲话": "digest of several pieces of news",
        "国内新闻：1. 甲公司公告。2. 乙部门发文。3. 丙地降雨。4. 丁会议闭幕。": "digest of several pieces of news",
        "【美股收盘：三大股指涨跌不一】道指收跌，纳指收涨": "market wrap",
        "非农来袭，黄金何去何从？点击查看更多…": "advert or teaser",
        "……！": "empty text",
    }
    added = [Event(f"odd-{n}", "flash", middle + n, text, None, None) for n, text in enumerate(texts)]
    dropped = build_dataset(with_events(market, *added), BuildOptions(20)).card["events_dropped"]
    for reason in texts.values():
        assert dropped[reason] == list(texts.values()).count(reason)


@pytest.mark.parametrize(
    "text",
    [
        "现货铂金站上987美元/盎司，日内涨6.6%。",
        "美联储主席：1. 通胀仍高；2. 就业降温。",
        "某交易所综合指数收涨7.7%，创收盘新高。",
        "今晚20:30公布的非农将影响降息预期。",
        "国务院印发5.2号文件，涉及3.5亿人。",
    ],
)
def test_one_piece_of_news_is_kept_whatever_its_words(text: str) -> None:
    assert reason_to_drop(Event("e", "flash", 0, text, None, None)) is None


def test_balance_evens_the_training_classes_and_no_others(market: Market) -> None:
    def counts(balance: Balance, field: str) -> dict[str, int]:
        card = build_dataset(market, BuildOptions(150, balance=balance, mix=Mix(0.8, 0.0, 0.2))).card
        return {name: split["train"] for name, split in card[field].items()}

    assert set(counts("impact", "impact").values()) == {40}
    assert set(counts("direction", "direction").values()) == {40}
    natural = counts("none", "impact")
    assert natural["low"] > 1.5 * natural["high"]
    choices: tuple[Balance, ...] = ("none", "both", "impact", "direction")
    evaluated = [build_dataset(market, BuildOptions(150, balance=balance)).rows["val"] for balance in choices]
    assert all(rows == evaluated[0] for rows in evaluated)


def test_all_uses_every_training_event_once_as_news(market: Market) -> None:
    dataset = build_dataset(market, BuildOptions(None))
    news = [row["meta"]["event_id"] for row in dataset.rows["train"] if row["meta"]["kind"] == "news"]
    assert sorted(news) == sorted(item.event.id for item in dataset.events["train"])
    kinds = {kind: counts["train"] for kind, counts in dataset.card["rows_by_kind"].items()}
    assert kinds["market"] == kinds["report"] == round(len(news) / 3)


@pytest.mark.parametrize(
    ("text", "counts"), [("60/20/20", (180, 60, 60)), ("1/0/0", (300, 0, 0)), ("5/3/2", (150, 90, 60))]
)
def test_the_mix_can_be_changed(market: Market, text: str, counts: tuple[int, int, int]) -> None:
    kinds = build_dataset(market, BuildOptions(300, mix=parse_mix(text))).card["rows_by_kind"]
    assert tuple(kinds.get(kind, {}).get("train", 0) for kind in ("news", "market", "report")) == counts


@pytest.mark.parametrize(
    "text", ["60/40", "0/50/50", "a/b/c", "-1/1/1", "nan/1/1", "inf/1/1", "", "1/1/1/1", "1/0/1000", "1e-17/0/1"]
)
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--mix"):
        parse_mix(text)


def test_since_and_until_are_whole_days_of_beijing(market: Market) -> None:
    since, until = datetime(2025, 8, 5), datetime(2025, 8, 8)
    dataset = build_dataset(market, BuildOptions(20, since=since, until=until))
    first, after = to_minute("2025-08-05 00:00"), to_minute("2025-08-09 00:00")
    local = [item.event.minute + 480 for part in dataset.events.values() for item in part]
    assert min(local) >= first and max(local) < after
    outside = sum(not first <= event.minute + 480 < after for event in market.events)
    assert dataset.card["events_dropped"]["outside --since and --until"] == outside > 0


def test_a_reaction_is_computed_where_none_is_recorded(tmp_path: Path) -> None:
    recorded = build_dataset(read_database(make_database(tmp_path / "m.db", days=6, events=300)), BuildOptions(60))
    without = read_database(make_database(tmp_path / "n.db", days=6, events=300, impacts=False))
    computed = build_dataset(without, BuildOptions(60))
    assert recorded.card["reactions"].keys() == {"recorded"} and computed.card["reactions"].keys() == {"computed"}
    labels = [[row["meta"].get("labels") for row in built.rows["test"]] for built in (recorded, computed)]
    assert labels[0] == labels[1]


@pytest.mark.parametrize("window", [5, 30])
def test_another_window_stands_in_prompt_labels_and_card(tmp_path: Path, window: int) -> None:
    path = make_database(tmp_path / "m.db", days=6, events=300)  # records 15 minutes only: the rest is computed
    dataset = build_dataset(read_database(path, horizon_min=window), BuildOptions(60))
    assert dataset.card["horizon_min"] == dataset.card["edges"]["horizon_min"] == window
    assert dataset.card["reactions"].keys() == {"computed"} and dataset.card["embargo_min"] == 120 + window
    for row in dataset.rows["val"]:
        if row["meta"]["kind"] == "news":
            assert f"随后{window}分钟" in row["instruction"] and row["meta"]["horizon_min"] == window
            if "context" in row["meta"]["request"]:
                assert f"常见{window}分钟波动" in row["input"]


def test_a_row_does_not_depend_on_the_others(market: Market) -> None:
    """The wording of an event's row comes from its id and the seed, not from how many rows there are."""

    def rows(count: int) -> dict[str, Row]:
        built = build_dataset(market, BuildOptions(count)).rows["train"]
        return {row["meta"]["event_id"]: row for row in built if row["meta"]["kind"] == "news"}

    few, many = rows(80), rows(240)
    alike = [
        event
        for event in few.keys() & many.keys()
        if (few[event]["instruction"], few[event]["input"]) == (many[event]["instruction"], many[event]["input"])
    ]
    assert len(alike) >= 5 and all(few[event]["output"] == many[event]["output"] for event in alike)


def test_a_text_that_resembles_any_earlier_one_is_kept_out_of_a_later_split(market: Market, built: Dataset) -> None:
    """Along a chain, too: each version resembles the one before it and no longer the first."""
    words = "国际清算银行季度评论称黄金与国债的相关性降到本世纪最低央行仍是最大买家而珠宝需求连续三季下滑"
    versions = [words[n * 4 : n * 4 + 34] for n in range(4)]
    opens = [to_minute(built.card["periods_utc"][split][0]) for split in ("train", "train", "val", "test")]
    chain = [
        Event(f"chain-{n}", "flash", minute + 600 + n, text, None, None)
        for n, (minute, text) in enumerate(zip(opens, versions, strict=True))
    ]
    dataset = build_dataset(with_events(market, *chain), BuildOptions(20))
    kept = {item.event.id for part in dataset.events.values() for item in part if item.event.id.startswith("chain")}
    assert kept == {"chain-0", "chain-1"}


def test_figures_of_opposite_sign_are_two_texts(market: Market) -> None:
    middle = market.events[150].minute
    pair = [
        Event(f"sign-{n}", "flash", middle + n, f"某国某指数月率报{sign}7.3%，分析师称出人意料", None, None)
        for n, sign in enumerate(("", "-"))
    ]
    before = build_dataset(market, BuildOptions(20)).card["events_dropped"].get("same text as an earlier event", 0)
    after = build_dataset(with_events(market, *pair), BuildOptions(20)).card["events_dropped"]
    assert after.get("same text as an earlier event", 0) == before


def test_validation_and_test_rows_are_the_same_for_every_seed_and_size(market: Market, built: Dataset) -> None:
    other = build_dataset(market, BuildOptions(40, seed=1234, balance="none"))
    assert other.rows["val"] == built.rows["val"] and other.rows["test"] == built.rows["test"]
    assert other.rows["train"] != built.rows["train"]


def test_rows_are_left_out_rather_than_repeated(tmp_path: Path) -> None:
    market = read_database(make_database(tmp_path / "m.db", days=4, events=90))
    dataset = build_dataset(market, BuildOptions(6000))
    rows = [(row["instruction"], row["input"], row["output"]) for row in dataset.rows["train"]]
    news = [row for row in dataset.rows["train"] if row["meta"]["kind"] != "report"]
    assert len({(r["instruction"], r["input"], r["output"]) for r in news}) == len(news)
    assert dataset.card["rows_left_out_as_repeated"] == 6000 - len(rows) > 0

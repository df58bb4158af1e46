from __future__ import annotations

import dataclasses
import json
import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from fintunnel.cli import main
from fintunnel.wire import Edges
from fintunnel_training.dataset.build import Dataset, build_dataset
from fintunnel_training.dataset.files import write_dataset
from fintunnel_training.dataset.options import BuildOptions
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.dataset.sources.records import Market
from fintunnel_training.errors import DatabaseError, DataError
from fintunnel_training.instructions import split_paths

from tests.dataset.markets import make_database


def test_the_mix_is_60_20_20_and_exact(built: Dataset) -> None:
    assert len(built.rows["train"]) == 100
    assert {kind: counts["train"] for kind, counts in built.card["rows_by_kind"].items()} == {
        "news": 60,
        "market": 20,
        "report": 20,
    }
    styles = {style: counts["train"] for style, counts in built.card["rows_by_style"].items()}
    assert styles == {"json": 73, "news_prose": 20, "market_prose": 7}  # a third of news and market in prose


def test_rows_have_the_three_columns_and_meta(built: Dataset) -> None:
    for rows in built.rows.values():
        for row in rows:
            assert list(row) == ["instruction", "input", "output", "meta"]
            assert all(isinstance(row[name], str) and row[name] for name in ("instruction", "input", "output"))


def test_about_a_third_of_news_and_market_rows_go_without_context(built: Dataset) -> None:
    rows = [row for row in built.rows["train"] if row["meta"]["kind"] != "report"]
    without = [row for row in rows if "context" not in row["meta"]["request"]]
    assert 0.28 <= len(without) / len(rows) <= 0.35
    for row in without:
        if row["meta"]["style"] == "json":
            assert json.loads(row["output"])["signals"] is None


def test_json_answers_hold_the_labels_and_prose_answers_name_them(built: Dataset) -> None:
    for row in built.rows["train"]:
        labels = row["meta"].get("labels")
        if labels is None:
            assert set(json.loads(row["output"])) == {"citations", "answer"}
        elif row["meta"]["style"] == "json":
            answer = json.loads(row["output"])
            assert list(answer) == ["impact", "direction", "signals", "rationale"]
            assert (answer["impact"], answer["direction"]) == (labels["impact"], labels["direction"])
        elif row["meta"]["style"] == "news_prose":
            assert row["output"].startswith("影响程度：")


def test_splits_follow_time_with_an_embargo(built: Dataset, market: Market) -> None:
    minute = {event.id: event.minute for event in market.events}
    times = {
        split: [minute[row["meta"]["event_id"]] for row in rows if "event_id" in row["meta"]]
        for split, rows in built.rows.items()
    }
    assert max(times["train"]) + 135 <= min(times["val"])
    assert max(times["val"]) + 135 <= min(times["test"])
    # The training rows are a sample; the card speaks of all events of the split.
    periods = {split: [_minute(at) for at in period] for split, period in built.card["periods_utc"].items()}
    assert periods["train"][1] + 135 <= periods["val"][0] and periods["val"][1] + 135 <= periods["test"][0]
    assert periods["train"][1] >= max(times["train"])


def test_the_same_seed_gives_the_same_bytes(market: Market, built: Dataset, tmp_path: Path) -> None:
    def files(dataset: Dataset, folder: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in write_dataset(dataset, folder / "x.jsonl", source_sha256="0")}

    first = files(built, tmp_path / "a")
    assert first == files(build_dataset(market, BuildOptions(100, seed=7)), tmp_path / "b")
    assert first != files(build_dataset(market, BuildOptions(100, seed=8)), tmp_path / "c")
    assert set(first) == {"x.jsonl", "x.val.jsonl", "x.test.jsonl", "x.card.json", "x.card.md"}


@pytest.mark.parametrize("dies", [False, True])
def test_rows_of_a_second_process_are_the_same_also_when_it_dies(market: Market, built: Dataset, dies: bool) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        if dies:
            pool.submit(os._exit, 9)
        dataset = build_dataset(market, BuildOptions(100, seed=7), second=pool)
    assert dataset.rows == built.rows and dataset.card == built.card


def test_a_failed_write_leaves_nothing_half_written(built: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    split_paths(out)["test"].mkdir()  # the last of the data files cannot be replaced
    with pytest.raises(DataError, match=r"无法写入.*x\.test\.jsonl"):
        write_dataset(built, out, source_sha256="0")
    assert [path.name for path in tmp_path.iterdir()] == ["x.test.jsonl"]


def test_a_source_or_any_other_file_is_never_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_database(tmp_path / "x.val.jsonl", days=1, events=3)
    thesis = tmp_path / "thesis.docx"
    thesis.write_bytes(b"years of work")
    before = path.read_bytes()
    for db, out, message in (
        (str(path), "x.val.jsonl", "会覆盖"),
        (str(path), "x.jsonl", "会覆盖"),
        (f"sqlite:///{path}", "x.jsonl", "会覆盖"),
        (str(path), "thesis.docx", ".jsonl"),
        (str(path), "y" * 250 + ".jsonl", "无法使用"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["dataset", "build", "--db", db, "--out", str(tmp_path / out)])
        assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert path.read_bytes() == before and thesis.read_bytes() == b"years of work"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-samples", "9"), "--num-samples"),
        (("--num-samples", "1" * 5000), "--num-samples"),
        (("--since", "2025-09-02", "--until", "2025-09-01"), "晚于"),
        (("--mix", "1/0/1e8"), "--mix"),
        (("--seed", "-1"), "--seed"),
        (("--since", "soon"), "--since"),
        (("--since", "2030-01-01"), "来源里的事件从 2025-08"),
    ],
)
def test_options_that_make_no_sense_are_named(
    sample_database: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["dataset", "build", "--db", str(sample_database), "--out", str(tmp_path / "x.jsonl"), *options])
    error = capsys.readouterr().err
    assert stopped.value.code in (1, 2) and error.startswith("[错误]") and message in error
    assert len(error.strip().splitlines()) <= 2 and not list(tmp_path.iterdir())


def test_what_happened_after_an_event_changes_its_label_and_nothing_else(market: Market) -> None:
    """Every reaction is turned round, one event at a time is looked at: instruction, input and rationale stay."""
    before = build_dataset(market, BuildOptions(60, seed=3))
    turned = dataclasses.replace(market, returns={event: -5 * ret for event, ret in market.returns.items()})
    after = build_dataset(turned, BuildOptions(60, seed=3))
    rows = {row["meta"]["event_id"]: row for row in after.rows["test"] if "event_id" in row["meta"]}
    changed = 0
    for row in before.rows["test"]:
        if "event_id" not in row["meta"]:
            continue
        other = rows[row["meta"]["event_id"]]
        assert (row["instruction"], row["input"]) == (other["instruction"], other["input"])
        answer, other_answer = json.loads(row["output"]), json.loads(other["output"])
        assert answer["rationale"] == other_answer["rationale"] and answer["signals"] == other_answer["signals"]
        changed += answer["direction"] != other_answer["direction"]
    assert changed > len(rows) // 4


def test_no_answer_speaks_of_what_came_after(built: Dataset) -> None:
    for rows in built.rows.values():
        for row in rows:
            assert not re.search(r"发布后|分钟内|随后.{0,4}(上涨|下跌)", row["output"])


def test_edges_come_from_the_training_events_alone(market: Market, built: Dataset) -> None:
    last = max(row["meta"]["request"]["published_at"] for row in built.rows["train"] if "event_id" in row["meta"])
    late = {event.id for event in market.events if event.minute > _minute(last) + 135}
    returns = {event: ret * (10 if event in late else 1) for event, ret in market.returns.items()}
    other = build_dataset(dataclasses.replace(market, returns=returns), BuildOptions(100, seed=7))
    assert Edges.model_validate(other.card["edges"]) == Edges.model_validate(built.card["edges"])


def _minute(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) // 60


def test_too_little_data_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    few = read_database(make_database(tmp_path / "m.db", days=1, events=12))
    with pytest.raises(DatabaseError, match="太少"):
        build_dataset(few)


def test_the_sample_database_makes_the_whole_default_set(sample_database: Path) -> None:
    card = build_dataset(read_database(sample_database)).card
    assert card["rows"]["train"] == 300
    assert card["events"]["train"] >= 150 and card["events"]["val"] >= 40 and card["events"]["test"] >= 40
    assert card["periods_utc"]["test"][1] < "2025-10-01"


def test_a_real_database_makes_at_least_300_rows_a_split(shared_database: Path) -> None:
    card = build_dataset(read_database(shared_database)).card
    assert card["rows"]["train"] == 300 and card["events"]["val"] >= 300 and card["events"]["test"] >= 300
    shares = {name: counts["val"] / card["events"]["val"] for name, counts in card["impact"].items()}
    assert 0.15 <= shares["high"] <= 0.35  # relative to the typical move it does not drift away

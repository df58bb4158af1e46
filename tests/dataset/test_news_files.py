from __future__ import annotations

import hashlib
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fintunnel.cli import main
from fintunnel_training.dataset.sources.news_files import parse_mapping, parse_zone, read_news
from fintunnel_training.dataset.sources.records import to_minute
from fintunnel_training.errors import DataError, OptionError

from tests.dataset.markets import make_database

AT = to_minute("2025-09-01 02:30:00")  # 10:30 in Beijing


def csv(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "news.csv"
    path.write_text("\n".join(lines), encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_csv_with_usual_names_needs_no_mapping(tmp_path: Path, encoding: str) -> None:
    events, skipped = read_news(
        csv(tmp_path, "时间,正文,重要性", "2025-09-01 10:30,央行增持黄金,4", encoding=encoding), {}
    )
    (event,) = events
    assert (event.minute, event.text, event.importance, event.kind) == (AT, "央行增持黄金", 4, "flash")
    assert not skipped


def test_a_mapping_names_the_columns(tmp_path: Path) -> None:
    path = csv(tmp_path, "when,headline,stars,key", '2025/09/01 10:30:59,"金价上行，银价跟随",9,k1')
    (event,), _ = read_news(path, parse_mapping("text=headline, time=when,importance=stars,id=key"))
    assert (event.id, event.minute, event.text, event.importance) == ("k1", AT, "金价上行，银价跟随", None)


@pytest.mark.parametrize(
    ("time", "zone"),
    [
        ("2025-09-01T02:30:00Z", "Asia/Shanghai"),
        ("2025-09-01T04:30:00+02:00", "Asia/Shanghai"),
        ("2025-09-01 02:30", "UTC"),
        ("1756693800", "Asia/Shanghai"),
        ("1756693800000", "UTC"),
        ("2025/9/1 10:30", "Asia/Shanghai"),
        ("2025年9月1日 10:30", "Asia/Shanghai"),
        ("2025.09.01 10：30", "Asia/Shanghai"),
    ],
)
def test_times_with_and_without_zones(tmp_path: Path, time: str, zone: str) -> None:
    (event,), _ = read_news(csv(tmp_path, "time,text", f"{time},央行增持黄金"), {}, parse_zone(zone))
    assert event.minute == AT


def test_the_column_ts_utc_is_utc(tmp_path: Path) -> None:
    (event,), _ = read_news(csv(tmp_path, "ts_utc,text", "2025-09-01 02:30:00,央行增持黄金"), {})
    assert event.minute == AT


def test_the_card_says_which_file_and_which_columns(tmp_path: Path) -> None:
    news = csv(tmp_path, "when,headline", "2025-09-02 02:30:00,央行增持黄金")
    database, out = make_database(tmp_path / "m.db", days=6, events=200), tmp_path / "x.jsonl"
    options = ["--num-samples", "20", "--news", str(news), "--news-columns", "time=when,text=headline"]
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "build", "--db", str(database), "--out", str(out), *options])
    assert ended.value.code == 0
    said = json.loads((tmp_path / "x.card.json").read_text(encoding="utf-8"))["news"]
    assert said == {
        "file": "news.csv",
        "sha256": hashlib.sha256(news.read_bytes()).hexdigest(),
        "columns": {"time": "when", "text": "headline"},
        "zone": "Asia/Shanghai",
    }
    assert "列 time=when，text=headline，时区 Asia/Shanghai" in (tmp_path / "x.card.md").read_text(encoding="utf-8")


def test_figures_of_a_jsonl_are_read_with_their_unit(tmp_path: Path) -> None:
    row = {"published_at": "2025-09-01T02:30:00Z", "content": "德国8月失业率", "actual": "6.3%", "forecast": "6.2%"}
    path = tmp_path / "news.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (event,), _ = read_news(path, {})
    assert event.kind == "flash" and event.figures is not None
    assert (event.figures.actual, event.figures.consensus, event.figures.unit) == (6.3, 6.2, "%")


def test_bad_rows_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "news.jsonl"
    good = '{"time": "2025-09-01 10:30", "text": "央行增持黄金", "id": 7}'
    huge = '{"time": 1' + "0" * 400 + ', "text": "x"}'
    lines = [
        huge,
        '{"time": "2025-09-01", "text": "哪个时刻？"}',
        good,
        good,
        "{",
        "[1]",
        '{"time": "soon", "text": "x"}',
        '{"time": null, "text": "x"}',
        '{"text": " "}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    events, skipped = read_news(path, {})
    assert [event.id for event in events] == ["7"]
    assert skipped == {"malformed row of the news file": 2, "unreadable time": 4, "empty text": 1, "duplicate id": 1}
    ragged = csv(tmp_path, "time,text", "2025-09-01 10:30,央行增持黄金", "2025-09-01", "2025-09-01,a,b,c")
    assert read_news(ragged, {})[1] == {"malformed row of the news file": 2}


def test_the_first_line_may_be_the_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "news.jsonl"
    path.write_text('{\n{"time": "2025-09-01 10:30", "text": "央行增持黄金"}', encoding="utf-8")
    events, skipped = read_news(path, {})
    assert len(events) == 1 and skipped == {"malformed row of the news file": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "无法读取"),
        ("empty.csv", b"", "没有任何一行"),
        ("head.csv", b"time,text\n", "没有任何一行"),
        ("x.csv", "哪天,说明\n2025-09-01,x\n".encode(), "--news-columns text=列名,time=列名"),
        ("x.csv", b"time,text\nsoon,x\n", "没有一行能用"),
        ("x.csv", b"time,text\n\xff\xff\xff,x\n", "编码"),
        ("x.xlsx", b"PK", "只认"),
        ("x.jsonl", b"[\n]\n", "没有任何一行|没有一行能用|不是"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError if "xlsx" not in name else OptionError, match=message):
        read_news(path, {})


def test_a_mapping_to_a_column_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="没有列 body。有的是：text、time"):
        read_news(csv(tmp_path, "time,text", "2025-09-01,x"), {"text": "body"})


@pytest.mark.parametrize("text", ["text", "text=", "=x", "text=a,text=b", "context=range_ratio"])
def test_a_mapping_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--news-columns"):
        parse_mapping(text)


def test_zones() -> None:
    assert parse_zone("America/New_York") == ZoneInfo("America/New_York")
    with pytest.raises(OptionError, match="--news-zone"):
        parse_zone("Mars/Base")


def test_half_characters_and_control_characters_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "news.jsonl"
    path.write_text('{"time": "2025-09-01 10:30", "text": "黄金\\ud800走\\u0000高"}', encoding="utf-8")
    (event,), _ = read_news(path, {})
    assert event.text == "黄金 走 高"

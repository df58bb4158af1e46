from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.dataset.sources.records import to_minute
from fintunnel_training.errors import DatabaseError

from tests.dataset.markets import execute


def test_figures_are_read_with_their_units(database: Path) -> None:
    entry = (
        "INSERT INTO events (event_id, source, ts_local, ts_utc, name, star, previous, consensus, actual)"
        " VALUES ('{0}', 'calendar', '', '2025-08-04 03:00:00', '{1}', 5, {2}, {3}, {4})"
    )
    execute(
        database,
        entry.format("a", "美国8月当周API原油库存(万桶)", "'-342'", "NULL", "'-382.1'"),
        entry.format("b", "美国9月利率决定(上限)", "'4.50%'", "'未公布'", "'4.25%'"),
        entry.format("c", "中国7月贸易帐(亿元)", "'1,234.5'", "''", "'未公布'"),
    )
    market = read_database(database)
    events = {event.id: event for event in market.events}
    oil, rate = events["a"].figures, events["b"].figures
    assert oil is not None and (oil.actual, oil.consensus, oil.previous, oil.unit) == (-382.1, None, -342, "万桶")
    assert events["a"].text == "美国8月当周API原油库存" and events["a"].importance == 5
    assert rate is not None and (rate.actual, rate.consensus, rate.unit) == (4.25, None, "%")
    assert "c" not in events and market.skipped["calendar entry without an actual figure"] == 1


def test_bad_rows_are_counted_and_the_rest_is_kept(database: Path) -> None:
    execute(
        database,
        "INSERT INTO events (event_id, source, ts_local, ts_utc, content) VALUES ('x', 'flash', '', 'soon', 'text')",
        "INSERT INTO events (event_id, source, ts_local, ts_utc, content)"
        " VALUES ('y', 'flash', '', '2025-08-04 01:00', ' ')",
        "INSERT INTO prices_m1 VALUES ('XAUUSD', '', '2025-08-09 00:00:00', 0, 0, 0, 0, NULL)",
        "INSERT INTO prices_m1 VALUES ('XAUUSD', '', '2025-08-09 00:01:00', 1, NULL, 1, 1, NULL)",
    )
    market = read_database(database)
    assert len(market.events) == 6 and len(market.prices) == 24 * 60
    assert market.skipped == {
        "unreadable time": 1,
        "empty text": 1,
        "price bar that is empty, not positive or has its low above its high": 2,
    }


def test_figures_in_different_units_are_not_compared(database: Path) -> None:
    execute(
        database,
        "INSERT INTO events (event_id, source, ts_local, ts_utc, name, consensus, previous, actual)"
        " VALUES ('u', 'calendar', '', '2025-08-04 03:00:00', '某国数据(万桶)', '-186.9', '0', '12%')",
    )
    figures = next(event.figures for event in read_database(database).events if event.id == "u")
    assert figures is not None
    assert (figures.actual, figures.consensus, figures.previous, figures.unit) == (12, None, 0, "%")


def test_impossible_numbers_do_not_end_the_build(database: Path) -> None:
    execute(
        database,
        "UPDATE event_impacts SET ret = 9e999 WHERE event_id = 'event-0001'",
        "INSERT INTO prices_m1 VALUES ('XAUUSD', '', '2025-08-09 00:00:00', 9e999, 9e999, 1, 1, NULL)",
        "INSERT INTO events (event_id, source, ts_local, ts_utc, name, actual)"
        f" VALUES ('long', 'calendar', '', '2025-08-04 03:00:00', '某数据({'单位' * 40})', '1')",
    )
    market = read_database(database)
    assert "event-0001" not in market.returns and len(market.returns) == 5
    assert any(event.id == "long" for event in market.events)


def test_prices_out_of_order_are_sorted(database: Path) -> None:
    execute(database, "INSERT INTO prices_m1 VALUES ('XAUUSD', '', '2025-08-01 00:00:00', 9, 9, 9, 9, NULL)")
    minutes = read_database(database).prices["minute"].to_list()
    assert minutes[0] == to_minute("2025-08-01 00:00:00") and minutes == sorted(set(minutes))


def test_the_database_is_never_written_to(database: Path) -> None:
    before = database.read_bytes()
    read_database(database)
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_missing_tables_and_columns_are_all_named(database: Path) -> None:
    execute(
        database,
        "ALTER TABLE prices_m1 RENAME TO prices",
        "ALTER TABLE events RENAME COLUMN event_id TO id",
        "ALTER TABLE events RENAME COLUMN ts_utc TO at",
        "ALTER TABLE events DROP COLUMN ts_local",
    )
    with pytest.raises(DatabaseError, match=r"表 prices_m1、列 events\.event_id、列 events\.ts_utc.*有：.*prices"):
        read_database(database)


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="找不到"):
        read_database(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("这不是数据库" * 100, encoding="utf-8")
    with pytest.raises(DatabaseError, match="不是完好的 SQLite"):
        read_database(path)


def test_a_locked_database_says_what_to_do(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_training.dataset.sources.connection._BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match="被其他程序锁定"):
            read_database(database)


def test_an_empty_result_is_an_error(database: Path) -> None:
    with pytest.raises(DatabaseError, match="XAGUSD 的价格"):
        read_database(database, ticker="XAGUSD")
    execute(database, "DELETE FROM events")
    with pytest.raises(DatabaseError, match="可用的事件"):
        read_database(database)

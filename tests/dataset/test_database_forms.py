"""Databases that are not quite the usual one: other columns, times, encodings, servers."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.errors import DatabaseError
from polars.testing import assert_frame_equal

from tests.dataset.markets import execute


def test_columns_that_one_can_do_without_are_noted(database: Path) -> None:
    execute(database, "DROP TABLE event_impacts", "ALTER TABLE events RENAME COLUMN star TO stars")
    market = read_database(database)
    assert len(market.events) == 6 and not market.returns
    assert all(event.importance is None for event in market.events)
    assert any("star" in note for note in market.notes) and any("event_impacts" in note for note in market.notes)


def test_local_times_alone_are_beijing_times(database: Path) -> None:
    before = read_database(database)
    execute(
        database,
        "ALTER TABLE events DROP COLUMN ts_utc",
        "CREATE TABLE p AS SELECT ticker, ts_local, open, high, low, close FROM prices_m1",
        "DROP TABLE prices_m1",
        "ALTER TABLE p RENAME TO prices_m1",
    )
    after = read_database(database)
    assert [event.minute for event in after.events] == [event.minute for event in before.events]
    assert after.prices.equals(before.prices)


def test_times_in_other_forms_are_read(database: Path) -> None:
    before = read_database(database)
    execute(
        database,
        "UPDATE prices_m1 SET ts_utc = replace(ts_utc, ' ', 'T') || 'Z' WHERE rowid % 3 = 0",
        "UPDATE prices_m1 SET ts_utc = CAST(strftime('%s', ts_utc) AS INTEGER) WHERE rowid % 3 = 1",
        "UPDATE events SET ts_utc = substr(replace(ts_utc, '-', '/'), 1, 16) WHERE rowid % 2",
    )
    after = read_database(database)
    assert after.prices.equals(before.prices) and after.skipped == before.skipped
    assert [event.minute for event in after.events] == [event.minute for event in before.events]


def test_text_in_gbk_is_read(database: Path) -> None:
    gbk, utf8 = "美联储理事称通胀仍然偏高".encode("gbk").hex(), "欧洲央行按兵不动".encode().hex()
    execute(
        database,
        f"UPDATE events SET content = CAST(x'{gbk}' AS TEXT) WHERE event_id = 'event-0001'",
        f"UPDATE events SET content = x'{utf8}' WHERE event_id = 'event-0002'",
    )
    texts = {event.id: event.text for event in read_database(database).events}
    assert texts["event-0001"] == "美联储理事称通胀仍然偏高" and texts["event-0002"] == "欧洲央行按兵不动"


def test_duplicates_without_a_primary_key_are_counted(database: Path) -> None:
    for table in ("events", "prices_m1"):
        execute(
            database,
            f"CREATE TABLE copy AS SELECT * FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE copy RENAME TO {table}",
            f"INSERT INTO {table} SELECT * FROM {table} LIMIT 3",
        )
    market = read_database(database)
    assert len(market.events) == 6 and len(market.prices) == 1440
    assert market.skipped == {"duplicate id": 3, "second price bar of a minute": 3}


def test_a_reaction_recorded_at_another_time_is_not_taken(database: Path) -> None:
    """Over closed markets (the last price known stands for the one after), or of another day."""
    own = "(SELECT ts_utc FROM events WHERE events.event_id = event_impacts.event_id)"
    execute(
        database,
        f"UPDATE event_impacts SET price_event_ts_utc = {own}, price_future_ts_utc = datetime({own}, '+15 minutes')",
        "UPDATE event_impacts SET price_future_ts_utc = price_event_ts_utc WHERE event_id = 'event-0003'",
        "UPDATE event_impacts SET price_event_ts_utc = datetime(price_event_ts_utc, '-1 day'),"
        " price_future_ts_utc = datetime(price_future_ts_utc, '-1 day') WHERE event_id = 'event-0004'",
        "UPDATE event_impacts SET ret = 1.7e308 WHERE event_id = 'event-0005'",
    )
    market = read_database(database)
    assert set(market.returns) == {f"event-{n:04}" for n in (0, 1, 2)}
    assert market.skipped["recorded reaction over another span of time"] == 2
    assert market.skipped["recorded reaction that is no number"] == 1


def test_control_characters_never_reach_a_text(database: Path) -> None:
    execute(
        database, "UPDATE events SET content = '金价' || char(0) || char(27) || '走高' WHERE event_id = 'event-0001'"
    )
    texts = {event.id: event.text for event in read_database(database).events}
    assert texts["event-0001"] == "金价 走高"


def test_a_sqlite_url_is_read_like_its_path(database: Path) -> None:
    by_url = read_database(f"sqlite:///{database}")
    assert by_url.events == read_database(database).events and by_url.source == str(database)


def test_a_database_in_wal_mode_leaves_nothing_beside_it(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before = database.read_bytes()
    assert len(read_database(database).events) == 6
    assert [path.name for path in database.parent.iterdir()] == [database.name] and database.read_bytes() == before


def test_what_a_writer_has_not_yet_merged_is_read(database: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE events SET content = '刚刚写入' WHERE event_id = 'event-0001'")
        writer.commit()
        assert "刚刚写入" in {event.text for event in read_database(database).events}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://user:hunter2@127.0.0.1:1/db", "驱动|无法读取"),
        ("nonsense://user:hunter2@x", "无法识别|驱动"),
        ("sqlite:///none.db", "找不到数据库文件"),
        ("postgresql:/user:hunter2@h/db", "无法识别"),
        ("postgresql://user@127.0.0.1:1/db?password=hunter2", "驱动|无法读取"),
    ],
)
def test_other_urls_fail_with_a_name_and_without_the_password(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as failure:
        read_database(url)
    assert "hunter2" not in str(failure.value)


_SERVER = os.environ.get("FINTUNNEL_TEST_DATABASE_URL")


@pytest.mark.skipif(_SERVER is None, reason="FINTUNNEL_TEST_DATABASE_URL names no empty database server")
def test_a_database_server_gives_the_same_as_the_file(database: Path) -> None:
    """Copies the file into the server's database and reads both."""
    import sqlalchemy as sa

    assert _SERVER is not None
    engine, file_engine = sa.create_engine(_SERVER), sa.create_engine(f"sqlite:///{database}")
    metadata = sa.MetaData()
    metadata.reflect(bind=file_engine)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    try:
        with file_engine.connect() as source, engine.begin() as target:
            for table in metadata.sorted_tables:
                target.execute(table.insert(), [dict(row._mapping) for row in source.execute(table.select())])
        by_server, by_file = read_database(_SERVER), read_database(database)
        assert by_server.events == by_file.events
        # A server's REAL has seven digits.
        assert by_server.returns == pytest.approx(by_file.returns, rel=1e-6)
        assert_frame_equal(by_server.prices, by_file.prices, rel_tol=1e-6)
    finally:
        metadata.drop_all(engine)
        engine.dispose()
        file_engine.dispose()

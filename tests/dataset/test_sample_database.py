from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fintunnel_training.dataset.sources.sample_database import build_sample_database
from fintunnel_training.errors import DatabaseError


def test_an_earlier_sample_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    build_sample_database(path)
    first = path.read_bytes()
    build_sample_database(path)
    assert path.read_bytes() == first

    grown = tmp_path / "grown.db"
    grown.write_bytes(first)
    own = tmp_path / "finance_analysis.db"
    for path in (grown, own):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE mine (a)")
        before = path.read_bytes()
        with pytest.raises(DatabaseError, match="不是示例数据库，或者已经改动过"):
            build_sample_database(path)
        assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"s.db", "finance_analysis.db", "grown.db"}


def test_october_stays_unseen(sample_database: Path) -> None:
    with closing(sqlite3.connect(sample_database)) as connection:
        latest = connection.execute("SELECT max(ts_local) FROM prices_m1").fetchone()[0]
        counts = dict(connection.execute("SELECT source, count(*) FROM events GROUP BY source"))
        impacts = connection.execute("SELECT count(*) FROM event_impacts").fetchone()[0]
    assert latest < "2025-10-01" and counts["flash"] >= 60 and counts["calendar"] >= 200
    assert impacts == sum(counts.values())

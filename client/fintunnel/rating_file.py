"""The SQLite file between `fintunnel compare --rate` and the rating page: the one adds pairs of answers, the other
shows them and keeps what people say of them, and the comparison reads that.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from fintunnel.errors import ConfigurationError
from fintunnel.rating import SCALES, RatedAnswer, RaterName, Rating, RatingPair, Scale, Score, Verdict

__all__ = ["SCALES", "RatedAnswer", "RaterName", "Rating", "RatingFile", "RatingPair", "Scale", "Score", "Verdict"]

_APPLICATION = 0x46695461  # tells these files from other SQLite ones
_VERSION = 1  # raised only where older readers would misread a file
_BUSY_SECONDS = 5.0
_START_AGAIN = "请把它移走，或换一个文件名，再运行 fintunnel compare --rate。"
_TABLES = """
    CREATE TABLE secret (seed TEXT NOT NULL);
    CREATE TABLE pairs (
        position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, request TEXT NOT NULL,
        first TEXT NOT NULL, second TEXT NOT NULL, first_answer TEXT NOT NULL, second_answer TEXT NOT NULL,
        shown INTEGER NOT NULL DEFAULT 1
    );
    CREATE TABLE ratings (
        pair TEXT NOT NULL REFERENCES pairs (key), rater TEXT NOT NULL, verdict TEXT NOT NULL,
        scores_first TEXT NOT NULL, scores_second TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (pair, rater)
    );
"""


class RatingFile:
    """The file, open. Several processes and threads may use it at once.

    Args:
        create: make it where there is none; else that is an error.

    Raises:
        ConfigurationError: from everything: it cannot be read or written, is damaged, or is another kind of file.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._lock = Lock()
        if not create and not path.exists():
            raise ConfigurationError(f"没有评分文件 {path}", advice="它由 fintunnel compare --rate 写出。")
        try:
            # isolation_level: a transaction is what `_writing` makes one, and nothing else.
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise _in_words(error, path) from error
        try:
            self.seed = self._prepare(create)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add_pairs(self, pairs: Sequence[RatingPair]) -> int:
        """Appends those that it does not hold yet, by their keys. How many those were."""
        rows = [_pair_row(pair) for pair in pairs]
        insert = (
            "INSERT OR IGNORE INTO pairs (key, request, first, second, first_answer, second_answer)"
            " VALUES (?, ?, ?, ?, ?, ?)"
        )
        with self._writing() as connection:
            before = connection.total_changes
            connection.executemany(insert, rows)
            return connection.total_changes - before

    def show_only(self, pairs: Sequence[RatingPair]) -> None:
        """Adds what it lacks, and hides all others from raters: those of an adapter that was trained again, say. What
        was said of them stays."""
        self.add_pairs(pairs)
        with self._writing() as connection:
            connection.execute("UPDATE pairs SET shown = 0")
            connection.executemany("UPDATE pairs SET shown = 1 WHERE key = ?", [(pair.key,) for pair in pairs])

    def keys(self) -> list[str]:
        """Of the pairs that raters are shown, in the order in which they were added."""
        return [key for (key,) in self._rows("SELECT key FROM pairs WHERE shown ORDER BY position")]

    def pairs(self) -> list[RatingPair]:
        """In the order in which they were added."""
        return self._pairs("ORDER BY position")

    def pair(self, key: str) -> RatingPair | None:
        return next(iter(self._pairs("WHERE key = ?", key)), None)

    def rate(self, rating: Rating) -> None:
        """Keeps it, in place of what the same rater said of the pair before.

        Raises:
            KeyError: there is no such pair.
        """
        scores = (json.dumps(rating.scores_first), json.dumps(rating.scores_second))
        values = (rating.pair, rating.rater, rating.verdict, *scores, rating.seconds, rating.at.isoformat())
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM pairs WHERE key = ?", (rating.pair,)).fetchone() is None:
                raise KeyError(rating.pair)
            connection.execute("REPLACE INTO ratings VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def ratings(self, rater: str | None = None) -> list[Rating]:
        """The oldest first; `rater`: only theirs."""
        columns = "pair, rater, verdict, scores_first, scores_second, seconds, at"
        condition, values = ("", ()) if rater is None else ("WHERE rater = ?", (rater,))
        rows = self._rows(f"SELECT {columns} FROM ratings {condition} ORDER BY at, pair", *values)
        try:
            return [_rating(row) for row in rows]
        except (ValueError, TypeError) as error:
            raise _damaged(self.path) from error

    def _pairs(self, condition: str, *values: str) -> list[RatingPair]:
        columns = "key, request, first, second, first_answer, second_answer"
        rows = self._rows(f"SELECT {columns} FROM pairs {condition}", *values)
        try:
            return [_pair(row) for row in rows]
        except (ValueError, TypeError) as error:
            raise _damaged(self.path) from error

    def _prepare(self, create: bool) -> str:
        """Checks what kind of file it is and that it can be written; gives its seed."""
        with self._writing() as connection:
            [application] = connection.execute("PRAGMA application_id").fetchone()
            [version] = connection.execute("PRAGMA user_version").fetchone()
            [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if create and (application, version, tables) == (0, 0, 0):
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO secret VALUES (?)", (secrets.token_hex(16),))
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif application != _APPLICATION:
                raise ConfigurationError(f"{self.path} 不是评分文件", advice=_START_AGAIN)
            elif version > _VERSION:
                raise ConfigurationError(f"{self.path} 是更新的版本写的", advice="请更新 FinTunnel 后再运行。")
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise _damaged(self.path)
            [seed] = connection.execute("SELECT seed FROM secret").fetchone() or [None]
            if not isinstance(seed, str):
                raise _damaged(self.path)
            return seed

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes during."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _in_words(error, self.path) from error

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _in_words(error, self.path) from error


def _pair_row(pair: RatingPair) -> tuple[str, ...]:
    answers = (pair.first_answer.model_dump_json(), pair.second_answer.model_dump_json())
    return (pair.key, pair.request.model_dump_json(), pair.first, pair.second, *answers)


def _pair(row: tuple[Any, ...]) -> RatingPair:
    key, request, first, second, first_answer, second_answer = row
    answers = {"first_answer": json.loads(first_answer), "second_answer": json.loads(second_answer)}
    content = {"key": key, "request": json.loads(request), "first": first, "second": second, **answers}
    return RatingPair.model_validate(content)


def _rating(row: tuple[Any, ...]) -> Rating:
    pair, rater, verdict, scores_first, scores_second, seconds, at = row
    scores = {"scores_first": json.loads(scores_first), "scores_second": json.loads(scores_second)}
    content = {"pair": pair, "rater": rater, "verdict": verdict, "seconds": seconds, "at": at, **scores}
    return Rating.model_validate(content)


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(f"评分文件 {path} 已损坏，或不是评分文件", advice=_START_AGAIN)


def _in_words(error: sqlite3.Error, path: Path) -> ConfigurationError:
    match getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]:
        case "CANTOPEN":
            return ConfigurationError(f"打不开评分文件 {path}", advice="请检查目录在不在、有没有权限。")
        case "READONLY" | "PERM":
            return ConfigurationError(f"评分文件 {path} 写不进去", advice="请检查权限，以及它有没有被移走或删除。")
        case "BUSY" | "LOCKED":
            return ConfigurationError(f"评分文件 {path} 被别的程序占用", advice="请关掉那个程序后再试。")
        case "ERROR":
            return ConfigurationError(f"评分文件 {path} 是另一个版本写的", advice=_START_AGAIN)
        case "FULL" | "IOERR":
            return ConfigurationError(f"评分文件 {path} 读写出错", advice="请检查磁盘空间和磁盘本身。")
    return _damaged(path)

"""Every answer of a teacher, in SQLite, written as it arrives: an interrupted run goes on where it stopped.

Keys are hashes of what was asked; the API key is no part of them and is never written.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from fintunnel_training.dataset.teacher.cost import Tokens
from fintunnel_training.dataset.teacher.protocol import Answer
from fintunnel_training.errors import DataError

__all__ = ["TeacherCache"]

_APPLICATION_ID = 0x46547465  # "FTte": tells a teacher's cache from any other SQLite file
_SCHEMA = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    cut_off INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reason TEXT,
    stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""


class TeacherCache:
    """A cache file; one that is missing is made with the first answer.

    Raises (from every method):
        DataError: the file is damaged, is no teacher's cache, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        if path.exists():
            with self._named_errors():
                self._connection = self._open()

    def check_writable(self) -> None:
        """Try the folder before the first answer is paid for; leaves nothing behind."""
        with self._named_errors():
            folder = next(parent for parent in self.path.absolute().parents if parent.exists())
            with tempfile.TemporaryFile(dir=folder):
                pass

    def get(self, key: str) -> Answer | None:
        if self._connection is None:
            return None
        with self._named_errors():
            row = self._connection.execute(
                "SELECT content, cut_off, prompt_tokens, completion_tokens FROM answers WHERE key = ?", (key,)
            ).fetchone()
            return Answer(str(row[0]), bool(row[1]), Tokens(int(row[2]), int(row[3]))) if row else None

    def put(self, key: str, answer: Answer, reason: str | None) -> None:
        """Store an answer, taken (`reason` None) or rejected, and commit; it replaces an earlier one."""
        with self._named_errors():
            connection = self._connected()
            # Half a surrogate cannot be stored; spelled out it is rejected just the same.
            content = answer.content.encode("utf-8", "backslashreplace").decode()
            with connection:
                connection.execute(
                    "INSERT OR REPLACE INTO answers (key, content, cut_off, prompt_tokens, completion_tokens, reason)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (key, content, answer.cut_off, *answer.tokens, reason),
                )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
                    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        raise DataError(f"{self.path} 是别的数据库，不是教师回答的缓存。请用 --cache 换一个文件名。")
                    connection.execute(_SCHEMA)
                    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(
                    "SELECT key, content, cut_off, prompt_tokens, completion_tokens FROM answers LIMIT 1"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError, ValueError, TypeError) as error:
            raise DataError(
                f"教师回答的缓存 {self.path} 无法使用：{error}。若文件已损坏，请删掉它（其中的回答要重新付费），"
                "或用 --cache 换一个文件名。"
            ) from error

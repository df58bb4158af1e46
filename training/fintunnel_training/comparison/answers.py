"""Every answer as it came, in an SQLite file: interrupted runs go on from it, those of several machines are joined."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from fintunnel.terminal_text import system_reason
from fintunnel.wire import AnalyzeResponse, NewsAnalysis, ReportAnswer
from pydantic import TypeAdapter, ValidationError

from fintunnel_training.comparison.result import SystemKind, Training
from fintunnel_training.errors import DataError

__all__ = ["AnswerFile", "Asked", "StoredAnswer", "StoredSystem"]

Asked = Literal["labels", "text", "free", "alone"]
"""How a question was put: for labels alone; with text; as a chat, answered in whatever form; with text, one question at
a time (for the time that it takes)."""

_APPLICATION = 0x46544C41  # "FTLA"
_VERSION = 1
_BUSY_SECONDS = 30.0  # another comparison with the same folder commits every answer
_SCHEMA = """
CREATE TABLE IF NOT EXISTS systems (
    fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, adapter TEXT,
    training TEXT, loss_curve BLOB);
CREATE TABLE IF NOT EXISTS answers (
    system TEXT NOT NULL, question TEXT NOT NULL, asked TEXT NOT NULL, answer TEXT, written TEXT, failure TEXT,
    malformed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (system, question, asked));
CREATE TABLE IF NOT EXISTS rates (
    system TEXT NOT NULL, asked TEXT NOT NULL, answered INTEGER NOT NULL, seconds REAL NOT NULL);
"""
_ANALYSIS: TypeAdapter[NewsAnalysis | ReportAnswer] = TypeAdapter(AnalyzeResponse)


@dataclass(frozen=True)
class StoredSystem:
    """`fingerprint`: the same for the same weights, base and prompt, on every machine. `training`, `loss_curve`: of an
    adapter, so that a machine which does not have its folder can show them."""

    fingerprint: str
    name: str
    kind: SystemKind
    model: str
    adapter: str | None = None
    training: Training | None = None
    loss_curve: bytes | None = None


@dataclass(frozen=True)
class StoredAnswer:
    """One of `analysis`, `written` (what a chat gave) and `failure`. `malformed`: the failure is the model's own, an
    answer that was none; else it was never asked: no balance, no connection."""

    analysis: NewsAnalysis | ReportAnswer | None = None
    written: str | None = None
    failure: str | None = None
    malformed: bool = False

    @property
    def is_final(self) -> bool:
        """Whether asking again would change nothing."""
        return self.failure is None or self.malformed


class AnswerFile:
    """
    Raises (from every method):
        DataError: the file is damaged, something else, or cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        with self._named_errors():
            if read_only:
                self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
        try:
            with self._named_errors():
                self._open(read_only)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, read_only: bool) -> None:
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION and (tables or read_only):
            raise DataError(f"{self.path} 不是 fintunnel compare 的回答文件，请换一个 --out")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise DataError(f"{self.path} 是另一个版本的 fintunnel 写的（{version}），请换一个 --out")
        if read_only:
            return
        with self._connection:
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def put_system(self, system: StoredSystem) -> None:
        training = None if system.training is None else system.training.model_dump_json()
        with self._named_errors(), self._connection:
            self._connection.execute(
                "INSERT INTO systems VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET name = excluded.name, "
                "kind = excluded.kind, model = excluded.model, adapter = excluded.adapter, "
                "training = excluded.training, loss_curve = excluded.loss_curve",
                (
                    system.fingerprint,
                    system.name,
                    system.kind,
                    system.model,
                    system.adapter,
                    training,
                    system.loss_curve,
                ),
            )

    def systems(self) -> list[StoredSystem]:
        with self._named_errors():
            rows = self._connection.execute("SELECT * FROM systems ORDER BY rowid").fetchall()
        found = []
        for fingerprint, name, kind, model, adapter, training, loss_curve in rows:
            if kind not in get_args(SystemKind):
                raise DataError(f"{self.path} 损坏：系统 {name} 的种类未知")
            try:
                evidence = None if training is None else Training.model_validate_json(training)
            except ValidationError:
                evidence = None  # of a version that wrote it differently: the answers count all the same
            found.append(StoredSystem(fingerprint, name, kind, model, adapter, evidence, loss_curve))
        return found

    def put(self, system: str, question: str, asked: Asked, answer: StoredAnswer) -> None:
        """`system`: its fingerprint; `question`: the case's key. A second answer takes the first one's place."""
        analysis = None if answer.analysis is None else answer.analysis.model_dump_json()
        with self._named_errors(), self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                (system, question, asked, analysis, answer.written, answer.failure, answer.malformed),
            )

    def answers(self, system: str, asked: Asked) -> dict[str, StoredAnswer]:
        """By question. Answers of a version that looked different are not there, and are asked for again."""
        with self._named_errors():
            rows = self._connection.execute(
                "SELECT question, answer, written, failure, malformed FROM answers WHERE system = ? AND asked = ?",
                (system, asked),
            ).fetchall()
        found = {}
        for question, analysis, written, failure, malformed in rows:
            try:
                parsed = None if analysis is None else _ANALYSIS.validate_json(analysis)
            except ValidationError:
                continue
            found[question] = StoredAnswer(parsed, written, failure, bool(malformed))
        return found

    def put_rate(self, system: str, asked: Asked, answered: int, seconds: float) -> None:
        """So many answers came in so many seconds, several questions at a time."""
        with self._named_errors(), self._connection:
            self._connection.execute("INSERT INTO rates VALUES (?, ?, ?, ?)", (system, asked, answered, seconds))

    def rate(self, system: str, asked: Asked) -> float | None:
        """Answers a second over all runs; None where none was timed."""
        with self._named_errors():
            answered, seconds = self._connection.execute(
                "SELECT sum(answered), sum(seconds) FROM rates WHERE system = ? AND asked = ?", (system, asked)
            ).fetchone()
        return answered / seconds if seconds else None

    def join(self, other: Path) -> tuple[int, set[str]]:
        """Take over what another machine's file holds and this one lacks, or has only failures for; returns how many
        answers those were, and the fingerprints of all its systems."""
        if not other.is_file():
            raise DataError(f"找不到要合并的回答文件 {other}")
        with AnswerFile(other, read_only=True) as theirs:
            ours = {system.fingerprint for system in self.systems()}
            joined = theirs.systems()
            for system in joined:
                if system.fingerprint not in ours:
                    self.put_system(system)
            with theirs._named_errors():
                rows = theirs._connection.execute("SELECT * FROM answers").fetchall()
                rates = theirs._connection.execute("SELECT * FROM rates").fetchall()
        with self._named_errors(), self._connection:
            before = self._connection.total_changes
            self._connection.executemany(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answer = excluded.answer, "
                "written = excluded.written, failure = excluded.failure, malformed = excluded.malformed "
                "WHERE answers.failure IS NOT NULL AND excluded.failure IS NULL",
                rows,
            )
            taken = self._connection.total_changes - before
            if taken:  # a file that is joined twice is counted once
                self._connection.executemany("INSERT INTO rates VALUES (?, ?, ?, ?)", rates)
        return taken, {system.fingerprint for system in joined}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DataError(f"回答文件 {self.path} 无法使用：{_reason(error)}") from error


def _reason(error: sqlite3.Error | OSError) -> str:
    """What is wrong with the file, and what to do. It may hold answers that were paid for: none is to be deleted."""
    match getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]:
        case "BUSY" | "LOCKED":
            return "别的程序正在用它。请等那个程序结束再运行。"
        case "READONLY" | "PERM" | "CANTOPEN":
            return "打不开或写不进去。请检查目录和权限。"
        case "FULL" | "IOERR":
            return "读写出错。请检查磁盘空间。"
        case "CORRUPT" | "NOTADB":
            return "它已损坏，或不是 SQLite 文件。请把它移走再运行。"
    return f"{system_reason(error)}。"

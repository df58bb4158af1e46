"""Opens a finance database read-only: a SQLite file by its path, anything else by a SQLAlchemy URL."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from fintunnel_training.errors import DatabaseError

__all__ = ["connected", "decode"]

_BUSY_SECONDS = 5.0


@contextmanager
def connected(source: str) -> Iterator[tuple[sa.Connection, str]]:
    """A read-only connection, and the source's name as it may be shown: without a password."""
    engine, shown = _engine(source)
    try:
        with engine.connect() as connection:
            if engine.dialect.name in ("mysql", "mariadb"):
                connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            elif engine.dialect.name == "postgresql":
                connection = connection.execution_options(postgresql_readonly=True)
            yield connection, shown
    except (SQLAlchemyError, sqlite3.Error, ModuleNotFoundError) as error:
        raise _named(error, shown) from error
    finally:
        engine.dispose()


def _engine(source: str) -> tuple[sa.Engine, str]:
    if "://" in source:
        try:
            url = sa.make_url(source)
            shown = url.set(query={}).render_as_string(hide_password=True)  # a query may hold secrets too
            if url.get_backend_name() != "sqlite":
                return sa.create_engine(url), shown
        except (SQLAlchemyError, ValueError) as error:
            raise DatabaseError("数据库地址无法识别，应形如 postgresql+psycopg://用户@主机/库名") from error
        except ModuleNotFoundError as error:
            raise DatabaseError(f"{shown} 需要驱动 {error.name}。请运行：python -m pip install {error.name}") from error
        source = url.database or ""
    if re.match(r"[A-Za-z+]{2,}:/", source):  # one slash is missing: never show it, there may be a password in it
        raise DatabaseError("数据库地址无法识别，应形如 postgresql+psycopg://用户@主机/库名")
    path = Path(source)
    if not path.is_file():
        raise DatabaseError(
            f"找不到数据库文件：{path}。没有数据库时，fintunnel dataset sample --out FILE.db 写出一个示例。"
        )

    def connect() -> sqlite3.Connection:
        # In WAL mode even a reader makes files beside the database, unless told that nobody is writing.
        nobody_writes = _is_wal(path) and not path.with_name(path.name + "-wal").exists()
        options = "mode=ro&immutable=1" if nobody_writes else "mode=ro"
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=_BUSY_SECONDS)
        connection.text_factory = decode
        return connection

    return sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool), str(path)


def _is_wal(path: Path) -> bool:
    """SQLite's file format: the read version at offset 19 is 2 for a database in WAL mode."""
    try:
        with path.open("rb") as file:
            return file.read(20)[19:] == b"\x02"
    except OSError:
        return False


def decode(raw: bytes) -> str:
    """Text columns should be UTF-8; on Windows some tools wrote GBK into them."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("gb18030", "replace")


def _named(error: Exception, shown: str) -> DatabaseError:
    original = getattr(error, "orig", None) or error
    text = str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
    if "locked" in text or "busy" in text:
        return DatabaseError(f"数据库被其他程序锁定：{shown}。请关闭正在写入它的程序后重试。")
    if isinstance(original, sqlite3.DatabaseError) and not isinstance(original, sqlite3.OperationalError):
        return DatabaseError(f"{shown} 不是完好的 SQLite 数据库：{text}")
    return DatabaseError(f"无法读取数据库 {shown}：{text}")

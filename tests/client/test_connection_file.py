"""`connection.json`: written whole, read by older and newer versions, bad ones told in one line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fintunnel.connection_file import FORMAT_VERSION, Connection, read_connection, write_connection
from fintunnel.errors import ConfigurationError
from pydantic import ValidationError

OPEN = Connection(
    url="https://mine.ngrok-free.dev", key_name="agent", model="gold", opened_at=datetime(2026, 1, 1, tzinfo=UTC)
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "连接.json"


def test_what_is_written_is_read(file: Path) -> None:
    write_connection(file, OPEN)
    assert read_connection(file) == OPEN
    closed = OPEN.model_copy(update={"closed_at": datetime(2026, 1, 2, tzinfo=UTC)})
    write_connection(file, closed)
    assert read_connection(file) == closed
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_newer_files_with_more_fields_are_read_and_incompatible_ones_told(file: Path) -> None:
    content = json.loads(OPEN.model_dump_json()) | {"region": "hk"}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert read_connection(file) == OPEN
    file.write_text(json.dumps(content | {"format_version": FORMAT_VERSION + 1}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="更新"):
        read_connection(file)


def test_a_file_that_cannot_be_used_is_told_in_one_line(file: Path) -> None:
    good = json.loads(OPEN.model_dump_json())
    contents = [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b" " * 70_000,
        *(
            json.dumps({name: value for name, value in good.items() if name != left}).encode()
            for left in ("url", "model")
        ),
        *(
            json.dumps(good | {"url": url}).encode()
            for url in ("http://a.dev", "https://a.dev/v1", "https://u@a.dev", 1)
        ),
        json.dumps(good | {"opened_at": "2026-01-01T00:00:00"}).encode(),  # no zone
    ]
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            read_connection(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_absent_file_and_folder_are_told(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="没有连接文件"):
        read_connection(file)
    file.mkdir()
    with pytest.raises(ConfigurationError, match="无法读取"):
        read_connection(file)


def test_failed_write_leaves_the_old_file_and_nothing_else(file: Path) -> None:
    file.mkdir()
    with pytest.raises(OSError):
        write_connection(file, OPEN)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_keys_cannot_be_sent_over_plain_http() -> None:
    with pytest.raises(ValidationError):
        Connection(url="http://a.dev", key_name="agent", model="gold", opened_at=OPEN.opened_at)


def test_an_address_without_tls_is_told_the_rule(file: Path) -> None:
    content = json.loads(OPEN.model_dump_json()) | {"url": "http://127.0.0.1:8000"}
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="https:// 开头.*FINTUNNEL_URL"):
        read_connection(file)

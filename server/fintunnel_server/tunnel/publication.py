"""Tells the tunnel's URL: to people on stdout, to programs in the connection file."""

from __future__ import annotations

import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import typer
from fintunnel.connection_file import Connection, read_connection, write_connection
from fintunnel.errors import FinTunnelError
from fintunnel.terminal_text import system_reason

from fintunnel_server.errors import SettingsError
from fintunnel_server.tunnel.announcement import announcement

__all__ = ["Publication", "check_connection_file"]

logger = logging.getLogger("fintunnel.tunnel")


def check_connection_file(path: Path) -> None:
    """Before minutes are spent on a model.

    Raises:
        SettingsError: the file could not be written there.
    """
    if path.exists() and not path.is_file():
        raise SettingsError(f"--connection-file 要是一个文件，{path} 不是。")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise SettingsError(
            f"连接文件写不进 {path.absolute().parent}：{system_reason(error)}。"
            "先建好目录（Drive 要先挂载），或换一个路径。"
        ) from error


class Publication:
    """
    Args:
        key_name: of the API key that callers use; never the key.
        model: what answers where a request names none.
        connection_file: none: there is no file.
    """

    def __init__(self, *, key_name: str, model: str, connection_file: Path | None) -> None:
        self._key_name = key_name
        self._model = model
        self._file = connection_file
        self._written: Connection | None = None

    def opened(self, url: str) -> None:
        """A URL that was not told yet. What fails is logged: the tunnel is open all the same."""
        try:
            typer.echo(announcement(url))
        except (OSError, ValueError) as error:  # a pipe that nobody reads, a stream that is closed
            logger.warning("tunnel: open at %s; it could not be printed: %s", url, error)
        if self._file is not None:
            opened_at = datetime.now(UTC).astimezone()
            self._write(Connection(url=url, key_name=self._key_name, model=self._model[:200], opened_at=opened_at))

    def closed(self) -> None:
        """The file that was written stays and says since when nobody answers there; another server's is left alone."""
        if self._file is None or self._written is None:
            return
        try:
            if read_connection(self._file) != self._written:
                return
        except FinTunnelError:
            return  # removed, or put to another use
        self._write(self._written.model_copy(update={"closed_at": datetime.now(UTC).astimezone()}))

    def _write(self, connection: Connection) -> None:
        assert self._file is not None
        try:
            write_connection(self._file, connection)
        except OSError as error:
            logger.warning("tunnel: %s could not be written: %s", self._file, error.strerror or error)
            return
        self._written = connection
        logger.info("tunnel: wrote %s", self._file)

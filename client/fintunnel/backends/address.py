"""Where the user's own server is: a URL, a connection file, or what ngrok's API says."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from fintunnel.backends.ngrok_api import tunnel_url
from fintunnel.connection_file import FILE_NAME, read_connection
from fintunnel.errors import ConfigurationError, FinTunnelError, TunnelError
from fintunnel.transport.call import Budget
from fintunnel.transport.target import Address, FixedAddress

__all__ = ["own_server_address"]

_DEFAULT_URL = "http://127.0.0.1:8000"


def own_server_address(url: str | None, connection_file: Path | None, ngrok_api_key: SecretStr | None) -> Address:
    """The first of the three that is given; this machine where none is."""
    if url:
        return FixedAddress(url)
    if connection_file is not None:
        return _FileAddress(connection_file)
    if ngrok_api_key is not None:
        return _NgrokAddress(ngrok_api_key)
    return FixedAddress(_DEFAULT_URL)


class _FoundAddress:
    """An address that has to be found first, and may be another after the tunnel was reopened."""

    def __init__(self) -> None:
        self.known: str | None = None

    def find(self, budget: Budget | None) -> str:
        """
        Raises:
            FinTunnelError: there is none.
        """
        raise NotImplementedError

    def url(self, budget: Budget | None = None) -> str:
        if self.known is None:
            self.known = self.find(budget)
        return self.known

    def look_again(self, budget: Budget) -> None:
        try:
            self.known = self.find(budget)
        except FinTunnelError:
            pass  # the old one is as good as none; the failure at hand says more


class _FileAddress(_FoundAddress):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def find(self, budget: Budget | None) -> str:
        del budget
        try:
            path = self._path / FILE_NAME if self._path.is_dir() else self._path
        except (OSError, ValueError) as error:  # a drive that is gone, a path that cannot be one
            raise ConfigurationError(f"无法读取连接文件 {self._path}：{error}") from error
        connection = read_connection(path)
        if connection.closed_at is not None:
            raise TunnelError(
                f"{path} 说隧道已在 {connection.closed_at:%m-%d %H:%M} 关闭",
                advice="请重新运行 fintunnel serve --tunnel …；若文件在 Drive 里，等它同步。",
                transient=False,
            )
        return connection.url


class _NgrokAddress(_FoundAddress):
    def __init__(self, api_key: SecretStr) -> None:
        super().__init__()
        self._api_key = api_key

    def find(self, budget: Budget | None) -> str:
        return tunnel_url(self._api_key, budget)

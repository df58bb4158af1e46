"""What the server package raises on purpose, all under `ServerError`."""

from __future__ import annotations

from fintunnel.errors import FinTunnelError

__all__ = ["ServerError", "SettingsError", "TunnelFailed"]


class ServerError(FinTunnelError):
    pass


class SettingsError(ServerError):
    """The server was started with settings that do not fit together."""

    exit_status = 2


class TunnelFailed(ServerError):
    """The tunnel could not be opened."""

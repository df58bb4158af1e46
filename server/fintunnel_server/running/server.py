"""uvicorn, told to drain before it stops, with bounds on what a connection may cost."""

from __future__ import annotations

import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from fintunnel_server.running.connections import BoundedProtocol, ConnectionLimits
from fintunnel_server.running.drain import Drain

__all__ = ["DrainingServer", "draining_server"]

_TOLD_SECONDS = 3.0  # for telling the callers of what was cut short


class DrainingServer(uvicorn.Server):
    """The first signal begins the drain: the port stays open, so that new requests are answered (503) and balancers see
    /ready fail, until nothing is under way. A second one does not wait for what is."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        if sig == signal.SIGINT and not self._captured_signals:
            self._captured_signals.append(sig)  # raised again at the end: the shell is to see an interruption
        if self._drain.has_begun:
            self._drain.hurry()
        self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        if await super().on_tick(counter):
            return True
        if not self._drain.has_begun:
            return False
        if self._drain.seconds_over >= 0:
            self._drain.cut()
        return self._drain.under_way == 0 or self._drain.seconds_over >= _TOLD_SECONDS


def draining_server(app: FastAPI, drain: Drain, limits: ConnectionLimits) -> DrainingServer:
    """`app`: of `create_app`. `run(sockets=[...])` serves until a signal has ended it; raises KeyboardInterrupt where
    that was Ctrl+C."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol.bounded_by(limits, app.state.metrics.error),
        ws="none",
        log_config=None,
        access_log=False,  # the app writes a line with the request's id
        server_header=False,
        proxy_headers=False,  # nothing is decided by an address that a caller can write
        timeout_graceful_shutdown=5,  # after the drain: to close idle connections
    )
    return DrainingServer(config, drain)

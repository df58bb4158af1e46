"""The app on a real server in a thread, as clients meet it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from fintunnel_server.app import create_app
from fintunnel_server.engine import Engine
from fintunnel_server.running.connections import ConnectionLimits
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.listening import listening
from fintunnel_server.running.server import DrainingServer, draining_server
from fintunnel_server.settings import ServerSettings


@dataclass
class LiveApp:
    url: str
    api_key: str | None
    server: DrainingServer
    drain: Drain

    def post(self, path: str, **options: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"} | dict(options.pop("headers", None) or {})  # type: ignore[call-overload]
        return httpx.post(self.url + path, headers=headers, timeout=10, trust_env=False, **options)  # type: ignore[arg-type]


@contextmanager
def run_app(
    engine: Engine,
    *,
    api_key: str | None,
    load_adapter: Callable[[str, Path], None] | None = None,
    limits: ConnectionLimits | None = None,
    **options: object,
) -> Iterator[LiveApp]:
    """`options`: fields of the settings."""
    settings = ServerSettings.model_validate({"api_key": api_key, "rate_limit": "off"} | options)
    drain = Drain(settings.drain_seconds)
    app = create_app(settings, engine, load_adapter, drain=drain)
    server = draining_server(app, drain, limits or ConnectionLimits())
    with run_server(server) as url:
        yield LiveApp(url, api_key, server, drain)


@contextmanager
def run_server(server: uvicorn.Server, port: int = 0) -> Iterator[str]:
    """In a thread, by default on a free port; gives its URL."""
    with listening("127.0.0.1", port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                assert time.monotonic() < deadline, "the app did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)

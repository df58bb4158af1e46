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
from fintunnel.local_server import free_port
from fintunnel_server.app import create_app
from fintunnel_server.engine import Engine
from fintunnel_server.settings import ServerSettings


@dataclass
class LiveApp:
    url: str
    api_key: str | None

    def post(self, path: str, **options: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"} | dict(options.pop("headers", None) or {})  # type: ignore[call-overload]
        return httpx.post(self.url + path, headers=headers, timeout=10, trust_env=False, **options)  # type: ignore[arg-type]


@contextmanager
def run_app(
    engine: Engine,
    *,
    api_key: str | None,
    load_adapter: Callable[[str, Path], None] | None = None,
    **options: object,
) -> Iterator[LiveApp]:
    """`options`: fields of the settings."""
    settings = ServerSettings.model_validate({"api_key": api_key, **options})
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings, engine, load_adapter), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the app did not start"
            time.sleep(0.01)
        yield LiveApp(f"http://127.0.0.1:{port}", api_key)
    finally:
        server.should_exit = True
        thread.join(10)

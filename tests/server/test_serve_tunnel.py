"""`fintunnel serve --tunnel ngrok` as a process, its agent a stand-in that forwards: asked through the public side."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fintunnel.connection_file import read_connection
from fintunnel.local_server import LocalServer, free_port
from fintunnel_server.cli import serve as serve_command
from fintunnel_server.errors import SettingsError, TunnelFailed
from typer.main import get_command

from tests.server.stand_in_agents import TOKEN, StandIn, cloudflared_stand_in, ngrok_stand_in, until
from tests.server.upstream_stand_in import Upstream, upstream_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in agents are started by a shebang")

KEY = "key-that-no-output-may-show"
QUESTION = {"task": "news", "text": "美联储宣布加息25个基点", "explain": False}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_server(Upstream()) as started:
        yield started


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("FINTUNNEL_API_KEY", KEY)
    monkeypatch.setenv("STAND_IN_PUBLIC", str(free_port()))
    return ngrok_stand_in(tmp_path, monkeypatch)


@pytest.fixture
def hang_up_ends() -> Iterator[None]:
    """A server inherits it where SIGHUP is ignored, as under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def serve(upstream: Upstream, folder: Path, *options: str, tunnel: str = "ngrok") -> LocalServer:
    arguments = ["--upstream", upstream.url, "--upstream-model", "tuned", "--tunnel", tunnel, *options]
    return LocalServer(arguments, log=folder / "server.log")


def ask(public: int) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"http://127.0.0.1:{public}/analyze", json=QUESTION, headers=headers, timeout=20, trust_env=False)


def test_it_is_asked_through_the_tunnel_before_and_after_the_agent_was_killed(
    upstream: Upstream, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = free_port()
    monkeypatch.setenv("STAND_IN_PUBLIC", str(public))
    monkeypatch.setenv("NGROK_DOMAIN", "mine.ngrok-free.dev")
    file = tmp_path / "connection.json"
    with serve(upstream, tmp_path, "--connection-file", str(file)) as server:
        server.wait_until_ready(60)
        assert read_connection(file).url == "https://mine.ngrok-free.dev"
        assert ask(public).json()["impact"] == "high"

        first = stand_in.pid
        stand_in.kill()
        until(lambda: stand_in.pid != first and "open again" in server.log.read_text(encoding="utf-8"))
        assert ask(public).json()["impact"] == "high"

        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    assert not stand_in.alive()
    assert read_connection(file).closed_at is not None

    shown = server.log.read_text(encoding="utf-8")
    assert shown.count("公开地址：https://mine.ngrok-free.dev") == 1 and "Traceback" not in shown
    written = "".join(path.read_text(encoding="utf-8") for path in (file, stand_in.record / "argv"))
    for secret in (KEY, TOKEN):
        assert secret not in shown + written


def test_hopeless_reopening_leaves_the_local_server_running(
    upstream: Upstream, stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.plan("ok", "reject 4018")
    with serve(upstream, tmp_path) as server:
        server.wait_until_ready(60)
        stand_in.kill()
        until(lambda: "the local server goes on" in server.log.read_text(encoding="utf-8"))
        assert ask(server.port).json()["impact"] == "high"
        server.process.send_signal(signal.SIGINT)
        server.process.wait(20)
    assert not stand_in.alive() and stand_in.starts == 2
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_sigterm_while_the_tunnel_opens_leaves_no_agent(upstream: Upstream, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.plan("silent")
    with serve(upstream, tmp_path) as server:
        until(lambda: stand_in.noted("agent"), 30)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5
    assert not stand_in.alive()


@pytest.mark.usefixtures("hang_up_ends")
def test_cloudflared_is_served_likewise(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = cloudflared_stand_in(tmp_path, monkeypatch)
    monkeypatch.setenv("FINTUNNEL_API_KEY", KEY)
    monkeypatch.setenv("FINTUNNEL_CLOUDFLARED_PATH", str(stand_in.program))
    monkeypatch.setenv("FINTUNNEL_CONNECTION_FILE", str(tmp_path / "connection.json"))
    with serve(upstream, tmp_path, tunnel="cloudflared") as server:
        server.wait_until_ready(60)
        content = json.loads((tmp_path / "connection.json").read_text(encoding="utf-8"))
        assert content["url"].endswith(".trycloudflare.com") and content["model"] == "tuned"
        server.process.send_signal(signal.SIGHUP)  # the terminal is closed
        assert server.process.wait(20) == 0
    assert not stand_in.alive() and KEY not in server.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tunnel", "ngrok", "--connection-file", "absent/connection.json"], "先建好目录"),
        (["--tunnel", "ngrok", "--host", "127.0.0.2"], "--host 只能是"),
        (["--connection-file", "connection.json"], "要与 --tunnel 一起用"),
    ],
)
def test_wrong_use_is_told_before_anything_starts(stand_in: StandIn, options: list[str], said: str) -> None:
    command = [*options, "--upstream", "http://127.0.0.1:9", "--upstream-model", "tuned", "--port", str(free_port())]
    with pytest.raises(SettingsError, match=said):
        get_command(serve_command)(command, standalone_mode=False)
    assert stand_in.starts == 0


def test_what_the_tunnel_lacks_is_told_before_the_model_is_loaded(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NGROK_AUTHTOKEN")
    command = ["--upstream", "http://127.0.0.1:9", "--upstream-model", "tuned", "--tunnel", "ngrok"]
    with pytest.raises(TunnelFailed, match="缺少 NGROK_AUTHTOKEN"):
        get_command(serve_command)(command, standalone_mode=False)
    assert stand_in.starts == 0

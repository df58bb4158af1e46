"""A tunnel that is lost and found: the real watch and the real pyngrok against a stand-in agent, on loopback."""

from __future__ import annotations

import json
import logging
import signal
import statistics
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fintunnel.connection_file import read_connection
from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel import Publication, Tunnel, TunnelState
from fintunnel_server.tunnel.backoff import Backoff
from fintunnel_server.tunnel.ngrok import NgrokAgent

from tests.server.stand_in_agents import TOKEN, StandIn, ngrok_stand_in, until

SOON = Backoff(first=0.02, longest=0.1)
URL = "https://stand-in.ngrok-free.dev"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> StandIn:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._API_INTERVAL", 0.05)
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._WITHOUT_ENDPOINT", 0.1)
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._RECONNECTING", 30)
    return ngrok_stand_in(tmp_path, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "connection.json"


@pytest.fixture
def tunnel(stand_in: StandIn, file: Path) -> Tunnel:
    del stand_in
    return make(file)


def make(file: Path | None, backoff: Backoff = SOON, domain: str | None = None) -> Tunnel:
    publication = Publication(key_name="agent", model="gold", connection_file=file)
    return Tunnel(lambda: NgrokAgent(8123, authtoken=TOKEN, domain=domain), publication, backoff=backoff, tick=0.02)


def reopened(tunnel: Tunnel, times: int = 1) -> Callable[[], bool]:
    return lambda: tunnel.state.is_open and tunnel.state.reopened == times


def test_state_says_what_is_so_before_inside_and_after(tunnel: Tunnel, stand_in: StandIn) -> None:
    assert tunnel.state == TunnelState(None, False, 0)
    with tunnel:
        assert tunnel.state == TunnelState(URL, True, 0)
    assert tunnel.state == TunnelState(None, False, 0)
    assert not stand_in.alive()


def test_killed_agent_is_replaced(
    tunnel: Tunnel, stand_in: StandIn, file: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with tunnel:
        first, written = stand_in.pid, read_connection(file)
        stand_in.kill()
        until(lambda: not tunnel.state.is_open)
        assert tunnel.state.url == URL
        until(reopened(tunnel))
        assert tunnel.state == TunnelState(URL, True, 1)
        assert stand_in.alive() == [stand_in.pid] != [first]
        assert read_connection(file) == written  # the same address: nothing new to tell
    assert not stand_in.alive()
    assert capsys.readouterr().out.count("公开地址") == 1
    assert caplog.text.count("tunnel: lost, the ngrok agent ended with status -9") == 1
    assert caplog.text.count("open again") == 1


def test_new_address_is_told_again(
    tunnel: Tunnel, stand_in: StandIn, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_URL", "https://number-{start}.ngrok-free.app")
    with tunnel:
        assert read_connection(file).url == "https://number-1.ngrok-free.app"
        stand_in.kill()
        until(lambda: read_connection(file).url == "https://number-2.ngrok-free.app")
        assert tunnel.state == TunnelState("https://number-2.ngrok-free.app", True, 1)
        assert "公开地址：https://number-2.ngrok-free.app" in capsys.readouterr().out


def test_session_that_the_agent_finds_again_by_itself_is_left_to_it(
    tunnel: Tunnel, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with tunnel:
        stand_in.send(signal.SIGUSR1)
        until(lambda: not tunnel.state.is_open)
        stand_in.send(signal.SIGUSR2)
        until(reopened(tunnel))
    assert stand_in.starts == 1
    assert caplog.text.count("lost its session (") == 1 and "i/o timeout" in caplog.text


def test_session_that_stays_lost_is_replaced_in_time(
    tunnel: Tunnel, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._RECONNECTING", 0.3)
    with tunnel:
        first = stand_in.pid
        stand_in.send(signal.SIGUSR1)
        began = time.monotonic()
        until(reopened(tunnel))
        assert time.monotonic() - began >= 0.3
        assert stand_in.alive() == [stand_in.pid] != [first]


def test_endpoint_that_is_gone_is_seen_by_the_local_api(tunnel: Tunnel, stand_in: StandIn) -> None:
    with tunnel:
        api = f"http://127.0.0.1:{stand_in.noted('api')[-1]}/api/endpoints/fintunnel"
        request = urllib.request.Request(api, method="DELETE")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5).close()
        until(reopened(tunnel))
        assert stand_in.starts == 2 and len(stand_in.alive()) == 1


def test_agent_that_stops_answering_is_replaced(
    tunnel: Tunnel, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._UNRESPONSIVE", 0.0)
    monkeypatch.setattr("fintunnel_server.tunnel.agent.ask_loopback.__defaults__", (0.2,))
    with tunnel:
        first = stand_in.pid
        stand_in.send(signal.SIGSTOP)
        until(reopened(tunnel))
        assert stand_in.alive() == [stand_in.pid] != [first]


def test_error_that_trying_again_cannot_heal_ends_the_trying(
    tunnel: Tunnel, stand_in: StandIn, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.plan("ok", "reject 107", "ok")
    with tunnel:
        stand_in.kill()
        until(lambda: tunnel.state.url is None)
        time.sleep(0.3)
        assert tunnel.state == TunnelState(None, False, 0)
        assert stand_in.starts == 2 and not stand_in.alive()
        assert read_connection(file).closed_at is not None
    assert caplog.text.count("重新复制") == 1 and "the local server goes on" in caplog.text
    assert TOKEN not in caplog.text


def test_address_that_is_still_online_elsewhere_is_tried_until_it_is_free(
    tunnel: Tunnel, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.plan("ok", "refuse 334", "refuse 334", "refuse 334", "ok")
    with tunnel:
        stand_in.kill()
        until(reopened(tunnel))
    assert stand_in.starts == 5
    assert caplog.text.count("ERR_NGROK_334") == 1  # the same reason is told once, not once an attempt


def test_program_that_is_gone_for_a_while_is_tried_until_it_is_back(
    tunnel: Tunnel, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with tunnel:
        away = stand_in.program.rename(stand_in.program.with_name("updating"))
        stand_in.kill()
        until(lambda: "PYNGROK_NGROK_PATH" in caplog.text)
        away.rename(stand_in.program)
        until(reopened(tunnel))


def test_first_opening_that_fails_is_the_callers_to_see(tunnel: Tunnel, stand_in: StandIn, file: Path) -> None:
    stand_in.plan("refuse 334")
    with pytest.raises(TunnelFailed, match="334"), tunnel:
        pass
    assert stand_in.starts == 1 and not stand_in.alive() and not file.exists()


def test_waits_grow_while_the_agent_keeps_dying(stand_in: StandIn, file: Path) -> None:
    stand_in.plan("ok", "open 0.05")
    waits: list[float] = []

    class Recorded(Backoff):
        def wait(self, attempt: int) -> float:
            waits.append(super().wait(attempt))
            return waits[-1]

    with make(file, Recorded(first=0.01, longest=0.3)):
        stand_in.kill()
        until(lambda: len(waits) >= 7)
    assert waits[0] <= 0.01 and waits[6] >= 0.15
    assert statistics.correlation(range(6), waits[:6]) > 0.7


def test_waits_begin_anew_after_a_tunnel_that_stayed_open(stand_in: StandIn, file: Path) -> None:
    attempts: list[int] = []

    class Recorded(Backoff):
        def wait(self, attempt: int) -> float:
            attempts.append(attempt)
            return 0.01

    stand_in.plan("ok", "refuse 334", "ok")
    with (tunnel := make(file, Recorded(steady=0.0))):
        stand_in.kill()
        until(reopened(tunnel))
        stand_in.kill()
        until(reopened(tunnel, 2))
    assert attempts == [0, 1, 0]


def test_backoff_doubles_to_its_bound_with_jitter() -> None:
    backoff = Backoff(first=1, longest=300)
    for attempt, step in ((0, 1), (1, 2), (5, 32), (8, 256), (9, 300), (10_000, 300)):
        waits = [backoff.wait(attempt) for _ in range(200)]
        assert step / 2 <= min(waits) < step * 0.6 and step * 0.9 < max(waits) <= step


@pytest.mark.parametrize("plan", ["silent", "refuse 334", "ok"])
def test_leaving_while_it_is_reopened_is_prompt_and_leaves_no_process(stand_in: StandIn, file: Path, plan: str) -> None:
    stand_in.plan("ok", plan)
    with make(file):
        stand_in.kill()
        until(lambda: len(stand_in.noted("agent")) >= 2)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    time.sleep(0.1)
    assert not stand_in.alive()
    starts = stand_in.starts
    time.sleep(0.3)
    assert stand_in.starts == starts


def test_leaving_during_a_long_wait_is_prompt(stand_in: StandIn, file: Path) -> None:
    with (tunnel := make(file, Backoff(first=60))):
        stand_in.kill()
        until(lambda: not tunnel.state.is_open)
        began = time.monotonic()
    assert time.monotonic() - began < 1 and not stand_in.alive()


def test_error_of_the_server_ends_the_agent(tunnel: Tunnel, stand_in: StandIn, file: Path) -> None:
    with pytest.raises(ZeroDivisionError), tunnel:
        raise ZeroDivisionError
    assert not stand_in.alive()
    assert read_connection(file).closed_at is not None


class TestConnectionFile:
    def test_it_names_url_key_and_model_and_no_key(
        self, tunnel: Tunnel, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FINTUNNEL_API_KEY", "the-key-itself")
        with tunnel:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        assert set(content) == {"format_version", "url", "key_name", "model", "opened_at"}
        assert (content["url"], content["key_name"], content["model"]) == (URL, "agent", "gold")
        assert [path.name for path in file.parent.glob("*connection*")] == ["connection.json"]  # nothing half-written

    def test_closing_is_written_into_it(self, tunnel: Tunnel, file: Path) -> None:
        with tunnel:
            opened = read_connection(file)
        closed = read_connection(file)
        assert closed.closed_at is not None and closed.closed_at >= opened.opened_at
        assert closed.model_copy(update={"closed_at": None}) == opened

    def test_another_servers_file_is_left_alone(self, tunnel: Tunnel, stand_in: StandIn, file: Path) -> None:
        with tunnel:
            others = file.read_text(encoding="utf-8").replace("gold", "silver")
            file.write_text(others, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == others
        with make(file):
            file.unlink()
        assert not file.exists() and not stand_in.alive()

    def test_drive_that_is_gone_is_a_warning(
        self, stand_in: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with make(tmp_path / "absent" / "connection.json") as tunnel:
            assert tunnel.state.is_open
        assert caplog.text.count("could not be written") == 1 and not stand_in.alive()

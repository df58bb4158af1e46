"""Quick tunnels against a stand-in for `cloudflared`: opened, watched, replaced; nothing leaves the loopback."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest
from fintunnel.connection_file import read_connection
from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel import Publication, Tunnel
from fintunnel_server.tunnel.backoff import Backoff
from fintunnel_server.tunnel.cloudflared import CloudflaredAgent

from tests.server.stand_in_agents import StandIn, cloudflared_stand_in, until

FIRST, SECOND = (f"https://stand-in-start-number-{number}.trycloudflare.com" for number in (1, 2))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> StandIn:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("fintunnel_server.tunnel.cloudflared._READY_INTERVAL", 0.05)
    return cloudflared_stand_in(tmp_path, monkeypatch)


def make(stand_in: StandIn) -> Tunnel:
    publication = Publication(key_name="agent", model="gold", connection_file=stand_in.record / "connection.json")
    return Tunnel(
        lambda: CloudflaredAgent(8123, program=stand_in.program),
        publication,
        backoff=Backoff(first=0.02, longest=0.1),
        tick=0.02,
    )


def failure(stand_in: StandIn) -> str:
    with pytest.raises(TunnelFailed) as caught, make(stand_in):
        pass
    assert not stand_in.alive()
    return str(caught.value)


def test_opens_under_the_address_in_its_log(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    with make(stand_in) as tunnel:
        assert tunnel.state.url == FIRST and tunnel.state.is_open
        (argv,) = stand_in.noted("argv")
        assert argv[1:3] == ["tunnel", "--no-autoupdate"] and argv[-2:] == ["--url", "http://127.0.0.1:8123"]
        assert argv[argv.index("--metrics") + 1] == "127.0.0.1:0"
    assert not stand_in.alive()
    shown = capsys.readouterr().out
    assert FIRST in shown and "ngrok" not in shown


def test_the_users_own_configuration_has_no_part_in_it(stand_in: StandIn) -> None:
    with make(stand_in):
        (agent,) = stand_in.noted("agent")
        assert agent["config"] == "{}\n" and Path(agent["path"]).is_file()
    assert not Path(agent["path"]).parent.exists()


def test_it_is_given_no_keys_and_nothing_that_makes_it_another_tunnel(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FINTUNNEL_API_KEY", "DEEPSEEK_API_KEY", "NGROK_AUTHTOKEN", "TUNNEL_NAME", "TUNNEL_LOGLEVEL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("TUNNEL_TRANSPORT_PROTOCOL", "http2")
    with make(stand_in):
        names = stand_in.noted("agent")[0]["environment"]
    assert [name for name in names if name.startswith(("FINTUNNEL_", "DEEPSEEK_", "NGROK_", "TUNNEL_"))] == [
        "TUNNEL_TRANSPORT_PROTOCOL"
    ]


def test_killed_program_is_replaced_under_a_new_address_that_is_told(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    with make(stand_in) as tunnel:
        stand_in.kill()
        until(lambda: read_connection(stand_in.record / "connection.json").url == SECOND)
        assert (tunnel.state.url, tunnel.state.is_open, tunnel.state.reopened) == (SECOND, True, 1)
        assert len(stand_in.alive()) == 1
    assert not stand_in.alive()
    shown = capsys.readouterr().out
    assert f"公开地址：{FIRST}" in shown and f"公开地址：{SECOND}" in shown


def test_connection_that_comes_back_is_waited_for(stand_in: StandIn) -> None:
    with make(stand_in) as tunnel:
        stand_in.send(signal.SIGUSR1)
        until(lambda: not tunnel.state.is_open)
        stand_in.send(signal.SIGUSR2)
        until(lambda: tunnel.state.is_open)
        assert tunnel.state.reopened == 1
    assert stand_in.starts == 1


def test_connection_that_stays_away_is_replaced(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel.cloudflared._RECONNECTING", 0.2)
    with make(stand_in) as tunnel:
        stand_in.send(signal.SIGUSR1)
        until(lambda: tunnel.state.url == SECOND)
        assert len(stand_in.alive()) == 1


@pytest.mark.parametrize(("plan", "told"), [("429", "等几分钟再试"), ("offline", "no such host")])
def test_program_that_ends_at_once_says_why(stand_in: StandIn, plan: str, told: str) -> None:
    stand_in.plan(plan)
    message = failure(stand_in)
    assert told in message and "--tunnel ngrok" in message


@pytest.mark.parametrize(("plan", "told"), [("unconnected", "TUNNEL_TRANSPORT_PROTOCOL"), ("silent", "没有说原因")])
def test_program_that_gets_nowhere_is_given_up(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, plan: str, told: str
) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel.cloudflared._OPEN_TIMEOUT", 0.5)
    stand_in.plan(plan)
    assert told in failure(stand_in)


def test_reopening_goes_on_through_refusals(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    stand_in.plan("ok", "429", "429", "ok")
    with make(stand_in) as tunnel:
        stand_in.kill()
        until(lambda: tunnel.state.reopened == 1)
    assert stand_in.starts == 4 and caplog.text.count("429") == 1


def test_leaving_while_it_is_reopened_is_prompt_and_leaves_no_process(stand_in: StandIn) -> None:
    stand_in.plan("ok", "silent")
    with make(stand_in):
        stand_in.kill()
        until(lambda: stand_in.starts == 2 and len(stand_in.noted("agent")) == 2)
        began = time.monotonic()
    assert time.monotonic() - began < 2 and not stand_in.alive()


def test_program_that_does_not_end_is_killed(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel.cloudflared._STOP_SECONDS", 0.2)
    stand_in.plan("stubborn")
    with make(stand_in):
        pass
    assert not stand_in.alive()


def test_missing_program_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TunnelFailed) as caught:
        CloudflaredAgent(8123)
    message = str(caught.value)
    assert "\n" not in message
    for system in ("winget install --id Cloudflare.cloudflared", "brew install cloudflared", "Linux"):
        assert system in message
    with pytest.raises(TunnelFailed, match="FINTUNNEL_CLOUDFLARED_PATH.*absent"):
        CloudflaredAgent(8123, program=tmp_path / "absent")


def test_program_on_the_path_is_found(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{stand_in.record}{os.pathsep}{os.environ['PATH']}")
    agent = CloudflaredAgent(8123)
    try:
        assert agent.open() == FIRST
    finally:
        agent.close()

"""One ngrok agent, opened and closed, against a stand-in: pyngrok is real, and nothing leaves the loopback."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from fintunnel.transport.ngrok import is_our_metadata
from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel.ngrok import NgrokAgent
from fintunnel_server.tunnel.ngrok_errors import ADVICE

from tests.server.stand_in_agents import TOKEN, StandIn, ngrok_stand_in


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return ngrok_stand_in(tmp_path, monkeypatch)


@contextmanager
def opened(port: int = 8123, *, authtoken: str | None = TOKEN, domain: str | None = None) -> Iterator[str]:
    agent = NgrokAgent(port, authtoken=authtoken, domain=domain)
    try:
        yield agent.open()
    finally:
        agent.close()


def failure(**options: str | None) -> TunnelFailed:
    with pytest.raises(TunnelFailed) as caught, opened(**options):  # type: ignore[arg-type]
        pass
    return caught.value


def test_opens_a_tunnel_to_the_port_under_an_address_that_ngrok_chooses(stand_in: StandIn) -> None:
    with opened() as url:
        assert url == "https://stand-in.ngrok-free.dev"
    (endpoint,) = stand_in.noted("endpoints")
    assert endpoint["upstream"] == {"url": "http://127.0.0.1:8123"}
    assert "url" not in endpoint and is_our_metadata(endpoint["metadata"])


@pytest.mark.parametrize("domain", ["mine.ngrok-free.dev", "https://mine.ngrok-free.dev/", " Mine.ngrok-free.dev"])
def test_requested_domain_is_used(stand_in: StandIn, domain: str) -> None:
    with opened(domain=domain) as url:
        assert url == "https://mine.ngrok-free.dev"
    assert stand_in.noted("endpoints")[0]["url"] == "https://mine.ngrok-free.dev"


@pytest.mark.parametrize("domain", ["", "mine", "http://mine.ngrok-free.dev", "mine.ngrok-free.dev/v1", "a.dev:80"])
def test_malformed_domain_is_refused_before_an_agent_starts(stand_in: StandIn, domain: str) -> None:
    assert "域名" in str(failure(domain=domain))
    assert stand_in.starts == 0


def test_an_address_that_could_not_stand_in_a_command_is_refused(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://plain.ngrok.io", "https://a.ngrok.io;reboot", "https://$(reboot).ngrok.io"):
        monkeypatch.setenv("STAND_IN_URL", url)
        assert "没有打开" in str(failure())
    assert not stand_in.alive()


def test_token_is_only_in_a_private_config_file_that_is_gone_after_closing(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with opened():
        (agent,) = stand_in.noted("agent")
        assert Path(agent["path"]).exists()
    assert f'authtoken: "{TOKEN}"\n' in agent["config"]
    assert agent["mode"] == 0o600
    assert agent["folder_mode"] == 0o700
    assert not Path(agent["path"]).parent.exists()
    assert TOKEN not in str(stand_in.noted("argv"))
    assert "tunnel session started" in caplog.text  # so the log was captured
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())


def test_the_agent_keeps_no_requests_and_their_keys(stand_in: StandIn) -> None:
    with opened():
        assert "inspect_db_size: -1" in stand_in.noted("agent")[0]["config"]


def test_the_agents_own_log_is_shown_only_for_debugging(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with opened():
        assert stand_in.alive()
    assert not caplog.text


def test_agent_is_dead_after_closing_and_after_an_error_inside(stand_in: StandIn) -> None:
    with opened():
        assert stand_in.alive()
    assert not stand_in.alive()
    with pytest.raises(ZeroDivisionError), opened():
        raise ZeroDivisionError
    assert stand_in.starts == 2 and not stand_in.alive()


def test_another_can_be_opened_after_an_agent_died_on_its_own(stand_in: StandIn) -> None:
    with opened():
        stand_in.kill()
    with opened():
        assert stand_in.alive()
    assert stand_in.starts == 2


def test_agent_of_another_owner_in_this_process_is_left_alone(stand_in: StandIn) -> None:
    with opened():
        assert "已经开着" in str(failure())
        assert stand_in.alive()


def test_http_proxy_in_the_environment_does_not_cut_off_the_agent(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request._opener", None)  # else urllib keeps the proxies it saw first
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._AGENT_TIMEOUT", 3)
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._API_INTERVAL", 0)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "example.com")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    agent = NgrokAgent(8123, authtoken=TOKEN)
    try:
        assert agent.open().startswith("https://")
        assert agent.trouble() is None
    finally:
        agent.close()
    assert stand_in.noted("endpoints")
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize("authtoken", [None, "", " \n"])
def test_missing_token_names_the_variable_and_where_to_get_one(authtoken: str | None) -> None:
    message = str(failure(authtoken=authtoken))
    assert "NGROK_AUTHTOKEN" in message and "dashboard.ngrok.com" in message


@pytest.mark.parametrize(
    ("plan", "advice", "heals"),
    [
        ("reject 105", "重新复制", False),
        ("reject 107", "重新复制", False),
        ("reject 108", "关掉别处的 ngrok", True),
        ("reject 121", "ngrok update", False),
        ("reject 4018", "验证邮箱", False),
        ("reject 9009", "http_proxy", False),
        ("reject 9040", "网络出口", False),
        ("refuse 320", "别的账号", False),
        ("refuse 334", "已在别处上线", True),
        ("refuse 702", "等一分钟", True),
        ("refuse 727", "下个月", False),
        ("refuse 734", "等一分钟", True),
        ("refuse 3200", "没有上线", True),
        ("refuse 8012", "先启动服务端", True),
    ],
)
def test_each_error_code_becomes_advice(stand_in: StandIn, plan: str, advice: str, heals: bool) -> None:
    stand_in.plan(plan)
    error = failure()
    assert advice in str(error) and f"ERR_NGROK_{plan.split()[1]}" in str(error)
    assert error.permanent is not heals
    assert not stand_in.alive()
    assert not Path(stand_in.noted("agent")[0]["path"]).exists()


def test_no_code_with_advice_is_left_out_above() -> None:
    (marks,) = (mark for mark in test_each_error_code_becomes_advice.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {plan.split()[1] for plan, *_ in marks.args[1]} == set(ADVICE)


def test_unknown_code_is_told_with_ngroks_reason_and_may_heal(stand_in: StandIn) -> None:
    stand_in.plan("reject 103")
    error = failure()
    assert "authentication failed" in str(error) and "ERR_NGROK_103" in str(error) and not error.permanent
    assert not stand_in.alive()


@pytest.mark.parametrize("code", ["105", "103"])
def test_token_that_ngrok_repeats_in_its_error_is_struck_out(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], code: str
) -> None:
    caplog.set_level(logging.DEBUG)
    stand_in.plan(f"reject {code}")
    error = failure()
    assert "Your authtoken: ***" in caplog.text
    shown = "".join(traceback.format_exception(error))
    assert TOKEN not in shown + caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in str(stand_in.noted("argv"))


def test_agent_that_dies_at_once_fails_without_waiting(stand_in: StandIn) -> None:
    stand_in.plan("die")
    began = time.monotonic()
    assert "没有打开" in str(failure())
    assert time.monotonic() - began < 5  # s
    assert stand_in.starts == 1


def test_agent_that_logs_nothing_is_given_up(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel.ngrok._AGENT_TIMEOUT", 0.4)
    stand_in.plan("silent")
    began = time.monotonic()
    assert "没有打开" in str(failure())
    assert time.monotonic() - began < 5  # s
    assert stand_in.starts == 1 and not stand_in.alive()


def test_closing_ends_an_opening_that_waits(stand_in: StandIn) -> None:
    stand_in.plan("silent")
    agent = NgrokAgent(8123, authtoken=TOKEN)
    timer = Timer(0.5, agent.close)
    timer.start()
    began = time.monotonic()
    with pytest.raises(TunnelFailed):
        agent.open()
    assert time.monotonic() - began < 3  # s
    timer.join()
    assert not stand_in.alive()


def test_agent_path_without_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(tmp_path / "absent"))
    message = str(failure())
    assert "PYNGROK_NGROK_PATH" in message and "absent" in message
    assert not list(tmp_path.iterdir())  # nothing was downloaded there


def test_file_that_is_no_program_is_refused(stand_in: StandIn) -> None:
    stand_in.program.chmod(0o600)
    assert "可执行" in str(failure())
    assert stand_in.starts == 0


def test_failed_download_says_how_to_bring_a_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/ngrok.tgz"
    monkeypatch.delenv("PYNGROK_NGROK_PATH", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("pyngrok.conf.DEFAULT_NGROK_PATH", str(tmp_path / "ngrok"))
    monkeypatch.setattr("pyngrok.installer.get_ngrok_cdn_url", lambda _version: nobody)
    message = str(failure())
    assert "PYNGROK_NGROK_PATH" in message and "HTTPS_PROXY" in message

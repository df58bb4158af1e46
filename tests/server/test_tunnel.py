"""The tunnel against a stand-in for the ngrok agent: pyngrok is real, and nothing leaves the loopback."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from fintunnel_server.errors import TunnelFailed
from fintunnel_server.tunnel import open_tunnel

TOKEN = "2stand1nTOKEN_thatMustNotLeak"

# What pyngrok needs of the agent: the log of `start --none`, and /api/endpoints at the address named there.
# STAND_IN_MODE: "die" (at once), "silent" (no log), "reject CODE" (no session), "refuse CODE" (no endpoint).
AGENT = r"""
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

record = Path(os.environ["STAND_IN_RECORD"])
kind, _, code = os.environ.get("STAND_IN_MODE", "").partition(" ")


def note(name, value):
    with open(record / name, "a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def log(line):
    print("t=2026-01-01T00:00:00+0000 " + line, flush=True)


note("argv", sys.argv)
if kind == "die":
    sys.exit(1)
if kind == "silent":
    time.sleep(60)
assert sys.argv[1:3] == ["start", "--none"], sys.argv
config = Path(sys.argv[sys.argv.index("--config") + 1])
note("agent", {
    "pid": os.getpid(),
    "path": str(config),
    "config": config.read_text(encoding="utf-8"),
    "mode": config.stat().st_mode & 0o777,
    "folder_mode": config.parent.stat().st_mode & 0o777,
})


class Api(BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200 if self.path == "/api/endpoints" else 404, {"endpoints": []})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note("endpoints", {"path": self.path, **asked})
        if kind == "refuse":
            details = {"err": f"failed to start tunnel: refused.\r\n\r\nERR_NGROK_{code}\r\n"}
            self.answer(502, {"error_code": 103, "msg": "failed to start tunnel", "details": details})
        else:
            self.answer(201, {"url": "https://stand-in.ngrok-free.dev", **asked})

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
log(f'lvl=info msg="starting web service" obj=web addr=127.0.0.1:{server.server_port} allow_hosts=[]')
if kind == "reject":
    time.sleep(0.3)  # the way to ngrok and back; pyngrok has read the lines above
    token = json.loads(config.read_text(encoding="utf-8").partition("authtoken: ")[2])
    # As the real agent does for a bad token: it repeats it.
    text = rf"authentication failed: no.\nYour authtoken: {token}\r\n\r\nERR_NGROK_{code}\r\n"
    log(f'lvl=eror msg="failed to auth session" obj=tunnels.session err="{text}"')
    log(f'lvl=eror msg="terminating with error" obj=app err="{text}"')
    time.sleep(0.3)
    sys.exit(1)
log('lvl=info msg="client session established" obj=tunnels.session')
log('lvl=info msg="tunnel session started" obj=tunnels.session')
server.serve_forever()
"""


class StandIn:
    def __init__(self, record: Path) -> None:
        self.record = record

    def noted(self, name: str) -> list[Any]:
        file = self.record / name
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def alive(self) -> bool:
        try:
            os.kill(self.noted("agent")[-1]["pid"], 0)
        except ProcessLookupError:
            return False
        return True


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    if sys.platform == "win32":
        pytest.skip("the stand-in agent is a script with a shebang, which Windows cannot start as a program")
    agent = tmp_path / "ngrok"
    agent.write_text(f"#!{sys.executable}\n{AGENT}", encoding="utf-8")
    agent.chmod(0o700)
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(agent))
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)  # where pyngrok would take it up for the command line
    monkeypatch.setenv("STAND_IN_RECORD", str(tmp_path))
    return StandIn(tmp_path)


def test_yields_the_public_url_of_a_tunnel_to_the_port(stand_in: StandIn) -> None:
    with open_tunnel(8123, authtoken=TOKEN) as url:
        assert url == "https://stand-in.ngrok-free.dev"
    (endpoint,) = stand_in.noted("endpoints")
    assert endpoint["upstream"] == {"url": "http://127.0.0.1:8123"}
    assert "url" not in endpoint  # ngrok chooses


@pytest.mark.parametrize("domain", ["mine.ngrok-free.dev", "https://mine.ngrok-free.dev/", " Mine.ngrok-free.dev"])
def test_requested_domain_is_used(stand_in: StandIn, domain: str) -> None:
    with open_tunnel(8123, authtoken=TOKEN, domain=domain) as url:
        assert url == "https://mine.ngrok-free.dev"
    assert stand_in.noted("endpoints")[0]["url"] == "https://mine.ngrok-free.dev"


@pytest.mark.parametrize("domain", ["", "mine", "http://mine.ngrok-free.dev", "mine.ngrok-free.dev/v1", "a.dev:80"])
def test_malformed_domain_is_refused_before_an_agent_starts(stand_in: StandIn, domain: str) -> None:
    with pytest.raises(TunnelFailed, match="域名"), open_tunnel(8123, authtoken=TOKEN, domain=domain):
        pass
    assert not (stand_in.record / "argv").exists()


def test_token_is_only_in_a_private_config_file_that_is_gone_after_exit(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_tunnel(8123, authtoken=TOKEN):
        (agent,) = stand_in.noted("agent")
        assert Path(agent["path"]).exists()
    assert agent["config"] == f'version: "3"\nagent:\n  authtoken: "{TOKEN}"\n'
    assert agent["mode"] == 0o600
    assert agent["folder_mode"] == 0o700
    assert not Path(agent["path"]).parent.exists()
    assert TOKEN not in str(stand_in.noted("argv"))
    assert "tunnel session started" in caplog.text  # so the log was captured
    assert TOKEN not in caplog.text + "".join(capfd.readouterr())


def test_agent_is_dead_after_exit(stand_in: StandIn) -> None:
    with open_tunnel(8123, authtoken=TOKEN):
        assert stand_in.alive()
    assert not stand_in.alive()


def test_error_inside_the_block_passes_through_and_the_agent_dies(stand_in: StandIn) -> None:
    with pytest.raises(ZeroDivisionError), open_tunnel(8123, authtoken=TOKEN):
        raise ZeroDivisionError
    assert not stand_in.alive()


def test_tunnel_can_be_opened_again_after_the_agent_died_on_its_own(stand_in: StandIn) -> None:
    with open_tunnel(8123, authtoken=TOKEN):
        os.kill(stand_in.noted("agent")[0]["pid"], 9)
    with open_tunnel(8123, authtoken=TOKEN):
        assert stand_in.alive()
    assert len(stand_in.noted("agent")) == 2


def test_agent_of_another_owner_in_this_process_is_left_alone(stand_in: StandIn) -> None:
    with open_tunnel(8123, authtoken=TOKEN):
        with pytest.raises(TunnelFailed, match="已经开着"), open_tunnel(8124, authtoken=TOKEN):
            pass
        assert stand_in.alive()


def test_http_proxy_in_the_environment_does_not_cut_off_the_agent(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request._opener", None)  # else urllib keeps the proxies it saw first
    monkeypatch.setattr("fintunnel_server.tunnel._AGENT_TIMEOUT", 3)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    with open_tunnel(8123, authtoken=TOKEN) as url:
        assert url.startswith("https://")
    assert stand_in.noted("endpoints")
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize("authtoken", [None, "", " \n"])
def test_missing_token_names_the_variable_and_where_to_get_one(authtoken: str | None) -> None:
    with pytest.raises(TunnelFailed, match=r"NGROK_AUTHTOKEN.*dashboard\.ngrok\.com"):
        with open_tunnel(8123, authtoken=authtoken):
            pass


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        ("reject 107", "重新复制"),
        ("reject 108", "关掉别处的 ngrok"),
        ("reject 4018", "验证邮箱"),
        ("reject 9009", "http_proxy"),
        ("refuse 334", "已在别处上线"),
        ("refuse 320", "别的账号"),
    ],
)
def test_ngrok_error_code_becomes_advice(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, mode: str, advice: str
) -> None:
    monkeypatch.setenv("STAND_IN_MODE", mode)
    with pytest.raises(TunnelFailed, match=advice) as caught, open_tunnel(8123, authtoken=TOKEN):
        pass
    assert f"ERR_NGROK_{mode.split()[1]}" in str(caught.value)
    assert not stand_in.alive()
    assert not Path(stand_in.noted("agent")[0]["path"]).exists()


def test_unknown_code_is_told_with_ngroks_reason(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_MODE", "reject 103")
    with pytest.raises(TunnelFailed, match=r"authentication failed.*ERR_NGROK_103"):
        with open_tunnel(8123, authtoken=TOKEN):
            pass
    assert not stand_in.alive()


@pytest.mark.parametrize("code", ["105", "103"])
def test_token_that_ngrok_repeats_in_its_error_is_struck_out(
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    code: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("STAND_IN_MODE", f"reject {code}")
    with pytest.raises(TunnelFailed) as caught, open_tunnel(8123, authtoken=TOKEN):
        pass
    assert "Your authtoken: ***" in caplog.text
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown + caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in str(stand_in.noted("argv"))


def test_agent_that_dies_at_once_fails_without_waiting(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_MODE", "die")
    began = time.monotonic()
    with pytest.raises(TunnelFailed, match="没有打开"), open_tunnel(8123, authtoken=TOKEN):
        pass
    assert time.monotonic() - began < 10  # s
    assert len(stand_in.noted("argv")) == 1


def test_agent_that_logs_nothing_is_given_up(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fintunnel_server.tunnel._AGENT_TIMEOUT", 1)
    monkeypatch.setenv("STAND_IN_MODE", "silent")
    began = time.monotonic()
    with pytest.raises(TunnelFailed, match="没有打开"), open_tunnel(8123, authtoken=TOKEN):
        pass
    assert time.monotonic() - began < 10  # s
    assert len(stand_in.noted("argv")) == 1


def test_agent_path_without_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(tmp_path / "absent"))
    with pytest.raises(TunnelFailed, match=r"PYNGROK_NGROK_PATH.*absent"):
        with open_tunnel(8123, authtoken=TOKEN):
            pass
    assert not list(tmp_path.iterdir())  # nothing was downloaded there


def test_file_that_is_no_program_is_refused(stand_in: StandIn) -> None:
    Path(os.environ["PYNGROK_NGROK_PATH"]).chmod(0o600)
    with pytest.raises(TunnelFailed, match="可执行"), open_tunnel(8123, authtoken=TOKEN):
        pass
    assert not (stand_in.record / "argv").exists()


def test_failed_download_says_how_to_bring_a_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/ngrok.tgz"
    monkeypatch.delenv("PYNGROK_NGROK_PATH", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("pyngrok.conf.DEFAULT_NGROK_PATH", str(tmp_path / "ngrok"))
    monkeypatch.setattr("pyngrok.installer.get_ngrok_cdn_url", lambda _version: nobody)
    with pytest.raises(TunnelFailed, match="PYNGROK_NGROK_PATH.*HTTPS_PROXY"):
        with open_tunnel(8123, authtoken=TOKEN):
            pass

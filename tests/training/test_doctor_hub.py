from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fintunnel_training.base import DEFAULT_HUB_BASE
from fintunnel_training.doctor import network
from fintunnel_training.doctor.findings import Finding

from tests.training.doctor_machines import doctor


@contextmanager
def answering(status: int, **headers: str) -> Iterator[str]:
    """A hub, or a proxy, on loopback that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_CONNECT = _answer

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def closed() -> str:
    """An address on loopback where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


# The hub


def test_a_hub_that_answers_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert network.hub() == Finding("ok", f"{address} 可以访问")


@pytest.mark.parametrize(("status", "advice"), [(403, "换一个网络"), (503, "稍后再试"), (429, "限流")])
def test_a_hub_that_refuses_is_told_by_its_status(monkeypatch: pytest.MonkeyPatch, status: int, advice: str) -> None:
    with answering(status) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        finding = network.hub()
    assert finding.status == "failure" and f"HTTP {status}" in finding.found and advice in finding.advice


def test_a_login_page_in_between_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(302, Location="http://login.campus.example/") as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        finding = network.hub()
    assert finding.status == "failure" and "login.campus.example" in finding.found and "校园网" in finding.advice


def test_an_unreachable_hub_matters_only_for_a_download(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], closed: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://{closed}")
    status, found, ok = doctor(capsys, "--base", "embedded")
    assert (status, ok, found["Hugging Face"]["status"]) == (0, True, "warning")
    assert "连不上" in found["Hugging Face"]["found"] and "hf-mirror.com" in found["Hugging Face"]["advice"]

    status, found, ok = doctor(capsys, "--base", DEFAULT_HUB_BASE)
    assert (status, ok, found["Hugging Face"]["status"]) == (1, False, "failure")


def test_a_closed_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@{closed}")
    finding = network.hub()
    assert finding.status == "failure" and f"连不上代理 HTTPS_PROXY={closed}" in finding.found
    assert "s3cret" not in finding.found + finding.advice


def test_a_proxy_that_refuses_is_told_apart_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(403) as address:
        monkeypatch.setenv("ALL_PROXY", address)
        finding = network.hub()
    assert finding.status == "failure" and "代理拒绝连接" in finding.found and f"ALL_PROXY={address}" in finding.found


def test_a_socks_proxy_without_socksio_says_what_to_install(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://{closed}")
    monkeypatch.setitem(sys.modules, "socksio", None)
    finding = network.hub()
    assert "没有安装 socksio" in finding.found and "ALL_PROXY" in finding.found and "httpx[socks]" in finding.advice


def test_a_proxy_of_an_unknown_kind_is_a_clear_line(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks://user:s3cret@{closed}")
    finding = network.hub()
    assert finding.status == "failure" and "写法不对" in finding.found and "s3cret" not in finding.found


def test_a_hub_that_never_answers_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        finding = network.hub()
    assert finding.status == "failure" and "没有回应" in finding.found


def test_a_name_that_does_not_resolve_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    finding = network.hub()
    assert finding.found == "域名解析失败：huggingface.co" and "HF_ENDPOINT=https://hf-mirror.com" in finding.advice


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "https://", "ftp://hf-mirror.com"])
def test_an_endpoint_that_is_no_address_is_told(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "HF_ENDPOINT 不是网址" in network.hub().found


def test_no_network_where_the_libraries_may_not_use_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> Finding:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(network, "hub", asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor(capsys, "--base", "embedded")[1]["Hugging Face"]["status"] == "ok"

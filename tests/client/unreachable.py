"""Addresses at which no answer can be had, and the reason that the caller is told."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import trustme

from tests.client.misbehaving_server import MisbehavingServer, always, answer, misbehaving_server

__all__ = ["UNREACHABLE"]


@contextmanager
def nobody() -> Iterator[MisbehavingServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield MisbehavingServer([], f"http://127.0.0.1:{port}")


@contextmanager
def no_such_name() -> Iterator[MisbehavingServer]:
    yield MisbehavingServer([], "http://no-such-name.invalid")


@contextmanager
def plain_where_tls_is_expected() -> Iterator[MisbehavingServer]:
    with misbehaving_server(greeting=answer(400, b"{}")) as server:
        yield MisbehavingServer([], server.url.replace("http://", "https://"))


@contextmanager
def untrusted_certificate() -> Iterator[MisbehavingServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with misbehaving_server(always(answer(200, b"{}")), tls=context) as server:
        yield server


UNREACHABLE = {
    "refused": (nobody, "没有程序在监听"),
    "DNS failure": (no_such_name, "域名无法解析"),
    "TLS handshake fails": (plain_where_tls_is_expected, "TLS 握手失败"),
    "untrusted certificate": (untrusted_certificate, "证书不受信任"),
}

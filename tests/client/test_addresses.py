"""Where the own server is found: URL, connection file, ngrok's API; and where the keys go."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from fintunnel import (
    AsyncDeepSeekClient,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    DeepSeekClient,
    MalformedAnswerError,
    TunnelError,
)
from fintunnel.backends import ngrok_api
from fintunnel.backends.ngrok_api import tunnel_url
from fintunnel.connection_file import Connection, write_connection
from fintunnel.local_server import free_port
from fintunnel.transport.ngrok import METADATA
from pydantic import SecretStr

from tests.client.cells import short_waits
from tests.client.fault_server import Reply, chat_reply, fault_server
from tests.client.good_answers import good
from tests.client.misbehaving_server import MisbehavingServer, always, misbehaving_server

OPEN = Connection(
    url="https://mine.ngrok-free.dev", key_name="agent", model="gold", opened_at=datetime(2026, 1, 1, tzinfo=UTC)
)
KEY = SecretStr("ngrok-api-secret")


def endpoint(url: str, metadata: str | None = METADATA) -> dict[str, Any]:
    return {"id": "ep_1", "public_url": url, "proto": "https", "metadata": metadata or ""}


def page(*endpoints: dict[str, Any], following: str | None = None) -> Reply:
    return Reply(body=json.dumps({"endpoints": endpoints, "next_page_uri": following}).encode())


def test_a_connection_file_names_the_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_connection(tmp_path / "connection.json", OPEN)
    for given in (tmp_path / "connection.json", tmp_path):  # the file, or the synced folder that holds it
        monkeypatch.setenv("FINTUNNEL_CONNECTION_FILE", str(given))
        assert DeepSeekClient(backend="finetuned").url == "https://mine.ngrok-free.dev"
    monkeypatch.setenv("FINTUNNEL_URL", "http://127.0.0.1:9")
    assert DeepSeekClient(backend="finetuned").url == "http://127.0.0.1:9"  # what is said outright comes first


def test_a_closed_or_missing_tunnel_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "连接.json"
    monkeypatch.setenv("FINTUNNEL_CONNECTION_FILE", str(path))
    client = DeepSeekClient(backend="finetuned")
    with pytest.raises(ConfigurationError, match="没有连接文件"):
        client.analyze("加息")
    write_connection(path, OPEN.model_copy(update={"closed_at": datetime(2026, 1, 2, tzinfo=UTC)}))
    with pytest.raises(TunnelError, match="01-02 00:00 关闭.*重新运行"):
        client.analyze("加息")


@contextmanager
def server_with_certificate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[MisbehavingServer]:
    """https, as every public address is."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    with misbehaving_server(always(good("finetuned", "analyze")), tls=context) as server:
        yield server


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_tunnel_that_moved_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asynchronous: bool) -> None:
    """The file is read again when nobody answers at the old address, and the call goes on at the new one."""
    file = tmp_path / "connection.json"
    write_connection(file, OPEN.model_copy(update={"url": f"https://127.0.0.1:{free_port()}"}))
    monkeypatch.setenv("FINTUNNEL_CONNECTION_FILE", str(file))
    monkeypatch.setenv("FINTUNNEL_API_KEY", "own-secret")

    async def ask(moved_to: str) -> str:
        async with AsyncDeepSeekClient(backend="finetuned") as client:
            with pytest.raises(ConnectionFailed):
                await client.analyze("加息")
            write_connection(file, OPEN.model_copy(update={"url": moved_to}))
            return (await client.analyze("加息")).impact

    with short_waits(), server_with_certificate(monkeypatch, tmp_path) as server:
        if asynchronous:
            assert asyncio.run(ask(server.url)) == "high"
        else:
            with DeepSeekClient(backend="finetuned") as client:
                with pytest.raises(ConnectionFailed):
                    client.analyze("加息")
                write_connection(file, OPEN.model_copy(update={"url": server.url}))
                assert client.analyze("加息").impact == "high" and client.url == server.url
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer own-secret"]


def test_ngroks_api_is_asked_for_the_endpoint_with_our_metadata() -> None:
    others = endpoint("https://other.ngrok.app", None), endpoint("https://x.ngrok.app", '{"app":"x"}'), {"a": 1}
    with fault_server(page(*others), page(endpoint("https://mine.ngrok-free.dev"))) as api:
        api.replies[0] = page(*others, following=f"{api.url}/endpoints?before_id=ep_1")
        assert tunnel_url(KEY, api=api.url) == "https://mine.ngrok-free.dev"
    assert [seen.path for seen in api.seen] == ["/endpoints", "/endpoints?before_id=ep_1"]
    assert api.seen[0].headers["authorization"] == "Bearer ngrok-api-secret"
    assert api.seen[0].headers["ngrok-version"] == "2"


def test_ngroks_key_is_not_sent_after_a_page_elsewhere() -> None:
    with fault_server(page()) as elsewhere, fault_server(page()) as api:
        api.replies[0] = page(following=f"{elsewhere.url}/endpoints")
        with pytest.raises(TunnelError, match="没有开着"):
            tunnel_url(KEY, api=api.url)
    assert elsewhere.seen == []


def test_none_several_and_bad_answers_are_told() -> None:
    with fault_server(page()) as api, pytest.raises(TunnelError, match="fintunnel serve --tunnel ngrok"):
        tunnel_url(KEY, api=api.url)
    two = endpoint("https://a.ngrok-free.dev"), endpoint("https://b.ngrok-free.dev")
    with fault_server(page(*two)) as api, pytest.raises(ConfigurationError, match="https://a.*https://b"):
        tunnel_url(KEY, api=api.url)
    with fault_server(page(endpoint("http://a.ngrok-free.dev"))) as api, pytest.raises(ConfigurationError):
        tunnel_url(KEY, api=api.url)
    with fault_server(Reply(body=b"{}")) as api, pytest.raises(MalformedAnswerError):
        tunnel_url(KEY, api=api.url)
    refused = Reply(403, b'{"error_code": "ERR_NGROK_206", "msg": "no"}', {"Ngrok-Error-Code": "ERR_NGROK_206"})
    with fault_server(refused) as api, pytest.raises(AuthenticationError, match="NGROK_API_KEY") as caught:
        tunnel_url(KEY, api=api.url)
    assert "ngrok-api-secret" not in str(caught.value)


def test_the_variable_leads_to_the_api_and_its_key_to_no_other_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with server_with_certificate(monkeypatch, tmp_path) as own, fault_server(page(endpoint(own.url))) as api:
        monkeypatch.setattr(ngrok_api, "_API", api.url)
        monkeypatch.setenv("NGROK_API_KEY", "ngrok-api-secret")
        monkeypatch.setenv("FINTUNNEL_API_KEY", "own-secret")
        with DeepSeekClient(backend="finetuned") as client:
            assert api.seen == []  # making a client asks nobody
            assert client.analyze("加息").impact == client.analyze("降息").impact == "high"
    assert len(api.seen) == 1 and "own-secret" not in str(api.seen) and "ngrok-api-secret" not in str(own.requests)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/analyze", "/v1/chat/completions"),
        ("/behind/a/path/", "/behind/a/path/v1/chat/completions"),
    ],
)
def test_the_address_of_a_route_is_the_servers(given: str, asked: str) -> None:
    with fault_server(chat_reply("好")) as server:
        DeepSeekClient(backend="finetuned", url=server.url + given).complete("你好")
    assert server.seen[0].path == asked


@pytest.mark.parametrize(
    "url", ["http://u:p@127.0.0.1", "http://127.0.0.1?x=1", "http://127.0.0.1#a", "http://127.0.0.1:99999"]
)
def test_an_address_with_a_password_or_a_query_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DeepSeekClient(backend="finetuned", url=url)
    assert "u:p" not in str(caught.value)

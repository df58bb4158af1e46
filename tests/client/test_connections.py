"""One pool per client, proxies, HTTP/2, and keys that go to their own host only."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fintunnel import AsyncDeepSeekClient, ConfigurationError, ConnectionFailed, DeepSeekClient, InvalidRequestError
from fintunnel.local_server import free_port
from fintunnel.transport.http_clients import proxy_for
from fintunnel.transport.ngrok import SKIP_WARNING

from tests.client.cells import ask
from tests.client.fault_server import Reply, chat_reply, fault_server
from tests.client.good_answers import good, good_body
from tests.client.http2_server import http2_server
from tests.client.misbehaving_server import always, misbehaving_server
from tests.live_app import LiveApp


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("handed_in", [False, True], ids=["own pool", "handed in"])
def test_a_key_does_not_follow_a_redirect(status: int, asynchronous: bool, handed_in: bool) -> None:
    """Not even where the caller's own httpx client follows redirects."""

    async def complete(url: str) -> None:
        http = httpx.AsyncClient(follow_redirects=True, trust_env=False) if handed_in else None
        async with AsyncDeepSeekClient(backend="finetuned", url=url, api_key="own-secret", http_client=http) as client:
            try:
                await client.complete("你好")
            finally:
                if http is not None:
                    await http.aclose()

    with fault_server(chat_reply("偷")) as thief:
        with fault_server(Reply(status, b"", {"Location": f"{thief.url}/v1"})) as server:
            with pytest.raises(InvalidRequestError, match="重定向到 127.0.0.1"):
                if asynchronous:
                    asyncio.run(complete(server.url))
                elif handed_in:
                    with httpx.Client(follow_redirects=True, trust_env=False) as http:
                        DeepSeekClient(
                            backend="finetuned", url=server.url, api_key="own-secret", http_client=http
                        ).complete("你好")
                else:
                    DeepSeekClient(backend="finetuned", url=server.url, api_key="own-secret").complete("你好")
        assert thief.seen == []


def test_ngroks_header_goes_to_ngrok_alone() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"choices": [{"message": {"content": "好"}}]})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    for url in ("https://mine.ngrok-free.dev", "http://127.0.0.1:8000", "https://ngrok-free.dev.evil.example"):
        DeepSeekClient(backend="finetuned", url=url, http_client=http).complete("你好")
    DeepSeekClient(backend="deepseek", api_key="k", http_client=http).complete("你好")
    assert [SKIP_WARNING in request.headers for request in sent] == [True, False, False, False]


def test_a_client_keeps_one_connection_open(live_app: LiveApp) -> None:
    opened: list[str] = []

    def trace(name: str, info: dict[str, Any]) -> None:
        del info
        if name == "connection.connect_tcp.complete":
            opened.append(name)

    client = DeepSeekClient(backend="finetuned", url=live_app.url, api_key="right-key")
    pool = client._senders[False]._client(httpx.URL(live_app.url))
    pool.event_hooks["request"] = [lambda request: request.extensions.update(trace=trace)]
    for _ in range(5):
        client.analyze("加息", explain=False)
    assert len(opened) == 1


def test_threads_may_share_a_client(live_app: LiveApp) -> None:
    client = DeepSeekClient(backend="finetuned", url=live_app.url, api_key="right-key")
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(client.complete("你好"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12 and len(set(answers)) == 1


def test_a_closed_client_says_so(live_app: LiveApp) -> None:
    client = DeepSeekClient(backend="finetuned", url=live_app.url, api_key="right-key")
    client.analyze("加息", explain=False)
    client.close()
    client.close()
    with pytest.raises(ConfigurationError, match="已经关闭"):
        client.analyze("加息")
    http = httpx.Client(trust_env=False)
    with DeepSeekClient(backend="finetuned", url=live_app.url, api_key="right-key", http_client=http) as client:
        client.analyze("加息", explain=False)
    assert not http.is_closed  # it is the caller's
    http.close()
    with pytest.raises(ConfigurationError, match="已经关闭"):
        client.analyze("加息")


def test_a_client_that_is_forgotten_leaves_no_connection_open(live_app: LiveApp) -> None:
    client = DeepSeekClient(backend="finetuned", url=live_app.url, api_key="right-key")
    client.analyze("加息", explain=False)
    del client
    gc.collect()  # a socket left open is a ResourceWarning, and warnings are errors here


def test_proxies_are_taken_from_the_environment_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    api, here = httpx.URL("https://api.deepseek.com"), httpx.URL("http://127.0.0.1:8000")
    assert proxy_for(api) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    proxy = proxy_for(api)
    assert proxy is not None and proxy.url.host == "proxy.example" and proxy.raw_auth == (b"user", b"secret")
    assert proxy_for(here) is None and proxy_for(httpx.URL("http://localhost:8000")) is None
    monkeypatch.setenv("NO_PROXY", "deepseek.com")
    assert proxy_for(api) is None
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    proxy = proxy_for(api)
    assert proxy is not None and proxy.url.scheme == "socks5"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_call_goes_through_the_proxy_and_a_dead_one_is_told(
    monkeypatch: pytest.MonkeyPatch, scheme: str, asynchronous: bool
) -> None:
    async def complete() -> None:
        async with AsyncDeepSeekClient(backend="deepseek", url="http://hosted.invalid", api_key="k") as client:
            await client.complete("你好", timeout_seconds=3)

    monkeypatch.setenv("HTTP_PROXY", f"{scheme}://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionFailed) as caught:
        if asynchronous:
            asyncio.run(complete())
        else:
            DeepSeekClient(backend="deepseek", url="http://hosted.invalid", api_key="k").complete("你好", 3)
    assert "没有程序在监听" in str(caught.value) and "代理" in str(caught.value)


def test_an_http_proxy_is_asked_in_the_servers_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with fault_server(chat_reply("好")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert DeepSeekClient(backend="deepseek", url="http://hosted.invalid", api_key="k").complete("你好") == "好"
    assert proxy.seen[0].path == "http://hosted.invalid/chat/completions"


@pytest.mark.parametrize(
    ("proxy", "said"),
    [("socks4://127.0.0.1:1", "不支持 socks4://"), ("socks://127.0.0.1:1", "socks5://"), ("http://[::1", "代理的地址")],
)
def test_a_proxy_of_no_use_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str, said: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=said):
        DeepSeekClient(backend="deepseek", api_key="k").complete("你好")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("socksio", "h2")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "fintunnel.transport.http_clients.find_spec", lambda name: None if name in missing else find(name)
    )
    with pytest.raises(ConfigurationError, match=r"fintunnel\[http2\]"):
        DeepSeekClient(backend="deepseek", api_key="k", http2=True).complete("你好")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match=r"socksio.*httpx\[socks\]"):
        DeepSeekClient(backend="deepseek", api_key="k").complete("你好")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_http2_is_spoken_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asynchronous: bool
) -> None:
    async def analyze(url: str) -> None:
        async with AsyncDeepSeekClient(backend="finetuned", url=url, http2=True) as client:
            assert (await client.analyze("加息")).impact == (await client.analyze("降息")).impact == "high"

    with http2_server(good_body("finetuned")) as server:
        server.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        if asynchronous:
            asyncio.run(analyze(server.url))
        else:
            with DeepSeekClient(backend="finetuned", url=server.url, http2=True) as client:
                assert client.analyze("加息").impact == client.analyze("降息").impact == "high"
        assert server.paths == ["/analyze", "/analyze"] and server.connections == 1
        with pytest.raises(ConnectionFailed):  # the server speaks nothing else
            DeepSeekClient(backend="finetuned", url=server.url, max_retries=0).analyze("加息")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_certificates_of_ones_own_are_trusted_and_missing_ones_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asynchronous: bool
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with misbehaving_server(always(good("finetuned", "analyze")), tls=context) as server:
        assert ask(server.url, "finetuned", "analyze", asynchronous=asynchronous, seconds=5).impact == "high"
    monkeypatch.setenv("SSL_CERT_FILE", "没有这个文件.pem")
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        DeepSeekClient(backend="deepseek", api_key="k").complete("你好")

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fintunnel_server.routes import pages
from fintunnel_server.settings import load_settings

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

PAGE = Path(pages.__file__).parents[1] / "page"


@pytest.fixture
def http(live_app: LiveApp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live_app.url, trust_env=False) as client:
        yield client


def test_every_file_is_served_without_a_key_under_a_strict_policy(http: httpx.Client) -> None:
    files = {"/": "text/html", "/docs": "text/html", "/docs/swagger-ui-bundle.js": "text/javascript"}
    files |= {f"/page/{path.name}": "text/javascript" for path in PAGE.glob("*.js")}
    files |= {"/page/page.css": "text/css", "/page/icon.svg": "image/svg+xml", "/docs/docs.js": "text/javascript"}
    for address, kind in files.items():
        response = http.get(address)
        assert response.status_code == 200, address
        assert response.headers["content-type"].startswith(kind)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert response.headers["cache-control"] == "no-cache" and "set-cookie" not in response.headers


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_file_is_sent_again_only_when_it_has_changed(http: httpx.Client, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    first = http.get("/page/main.js", headers=headers)
    assert first.content == (PAGE / "main.js").read_bytes()
    assert first.headers.get("content-encoding", "identity") == encoding
    again = http.get("/page/main.js", headers=headers | {"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    head = http.head("/page/main.js", headers=headers)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["content-length"] == first.headers["content-length"]


@pytest.mark.parametrize(
    "address",
    [
        "/page/",
        "/page",
        "/page/index.html",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/page/....//app.py",
        "/page/main.js%00",
        "/page/docs/docs.js",
        "/page/C:%5CWindows%5Cwin.ini",
        "/docs/",
        "/docs/index.html",
        "/docs/redoc.standalone.js",
        "/page//etc/passwd",
        "//page/main.js",
    ],
)
def test_nothing_but_the_listed_files_is_served(http: httpx.Client, address: str) -> None:
    response = http.request("GET", httpx.URL(str(http.base_url).rstrip("/") + address))
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"


def test_files_are_only_read(http: httpx.Client) -> None:
    assert http.post("/", json={}).status_code == 405
    assert http.delete("/page/main.js").status_code == 405


@pytest.mark.parametrize("address", ["/", "/docs", "/page/main.js", "/docs/swagger-ui-bundle.js"])
def test_the_page_can_be_left_out(engine: InstantEngine, address: str) -> None:
    with run_app(engine, api_key="right-key", page=False) as app:
        response = httpx.get(app.url + address, trust_env=False)
        assert response.status_code == 404


def test_the_page_is_left_out_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().page is True
    monkeypatch.setenv("FINTUNNEL_PAGE", "0")
    assert load_settings().page is False


def test_markup_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    for path in PAGE.rglob("*.html"):
        markup = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", markup), path
        assert all(each.startswith(("/", "#")) for each in re.findall(r'(?:src|href|action)="([^"]*)"', markup)), path
    for path in PAGE.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert all("example.org" in each or path.name == "snippets.js" for each in addresses), (path, addresses)
        if path.suffix == ".js":
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
                path
            )

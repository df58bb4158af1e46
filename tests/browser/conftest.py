"""The browser that is there. One for all tests of this folder, one context (storage, cookies) for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.executable import find_browser
from tests.browser.two_models import TwoModels
from tests.browser.watched_page import WatchedPage
from tests.live_app import LiveApp, run_app

OpenPage = Callable[..., WatchedPage]

_FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Not for the whole session: while Playwright's sync API is in use, this thread has a running event loop, with which
# asyncio.run in other folders' tests fails.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        if os.environ.get("FINTUNNEL_REQUIRE_BROWSER") == "1":
            pytest.fail("FINTUNNEL_REQUIRE_BROWSER=1, and there is no Chromium, Chrome or Edge")
        pytest.skip("no Chromium, Chrome or Edge (FINTUNNEL_BROWSER names one)")
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        expect.set_options(timeout=15_000)
        flags = [*_FLAGS, *(["--no-sandbox"] if as_root else [])]
        launched = playwright.chromium.launch(executable_path=executable, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def kept_screenshots() -> Path | None:
    folder = os.environ.get("FINTUNNEL_SCREENSHOTS")
    return Path(folder).resolve() if folder else None


@pytest.fixture
def models() -> TwoModels:
    return TwoModels()


@pytest.fixture
def app(models: TwoModels) -> Iterator[LiveApp]:
    with run_app(models, api_key="right-key") as live:
        yield live


@pytest.fixture
def open_page(browser: Browser, kept_screenshots: Path | None, tmp_path: Path) -> Iterator[OpenPage]:
    """`open_page(url, path="/", **options of the context)`. Fails the test for anything that a page must never do."""
    folder = kept_screenshots or tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    opened: list[WatchedPage] = []
    with ExitStack() as stack:

        def open_one(url: str, path: str = "/", **options: Any) -> WatchedPage:
            context = browser.new_context(
                **{"locale": "zh-CN", "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
            )
            stack.callback(context.close)
            context.set_default_timeout(15_000)
            # Without a key the page asks for the models once, to learn whether one is needed.
            watched = WatchedPage(context.new_page(), url, folder, expected=["status of 401"])
            opened.append(watched)
            watched.page.goto(url + path)
            return watched

        yield open_one
        for watched in opened:
            assert watched.unexpected() == []
            assert watched.page.context.cookies() == []

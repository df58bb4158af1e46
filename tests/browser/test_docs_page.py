"""Swagger UI, from this server alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.live_app import LiveApp

pytestmark = pytest.mark.browser


def test_docs_ask_for_the_key_list_the_routes_and_try_one_out(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url, "/docs")
    expect(page.one("#status")).to_contain_text("请填入密钥")
    expect(page.one("#key")).to_be_focused()
    page.page.keyboard.type("right-key")
    page.page.keyboard.press("Enter")
    route = page.one("[id$=models_v1_models_get]")
    expect(page.one(".opblock-summary-path", has_text="/analyze/stream")).to_be_visible()
    expect(route).to_be_visible()
    page.shot("50-docs")
    route.locator(".opblock-summary-control").click()
    route.locator(".try-out__btn").click()
    route.locator(".execute").click()
    expect(route.locator(".live-responses-table td.response-col_status").last).to_contain_text("200")
    expect(route.locator(".live-responses-table .microlight").first).to_contain_text("fintunnel")
    assert "right-key" not in page.one("main").inner_text()
    page.shot("51-docs-tried")


def test_docs_share_the_pages_key(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key()
    page.page.click(".tools a")
    expect(page.one(".opblock-summary-path", has_text="/analyze/stream")).to_be_visible()
    expect(page.one("#key")).to_have_value("right-key")

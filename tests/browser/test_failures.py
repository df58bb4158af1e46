"""What goes wrong is said, with what to do, and nothing that was typed is lost."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.relay import relay_to
from tests.browser.two_models import TUNED_TEXT, TwoModels
from tests.live_app import LiveApp

pytestmark = pytest.mark.browser

HEADLINE = "某公司公布季度业绩，净利润同比增长8%"


def test_a_wrong_key_is_said_and_the_right_one_works_after(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    expect(page.one("#key-status")).to_contain_text("需要密钥")
    page.use_key("wrong-key")
    expect(page.one("#key-status")).to_contain_text("密钥不对")
    card = page.analyze(HEADLINE)
    expect(card.locator(".failure")).to_contain_text("密钥缺失或不正确")
    expect(card.locator(".failure")).to_contain_text("invalid_api_key")
    expect(card.locator(".failure")).to_contain_text("req-")
    expect(page.one("#key")).to_be_focused()
    page.shot("10-wrong-key")
    page.page.keyboard.type("right-key")
    page.page.keyboard.press("Enter")
    expect(page.one("#key-status")).to_contain_text("密钥已填入")
    expect(page.one("[name=text]")).to_have_value(HEADLINE)
    card.locator(".retry").click()
    expect(page.one("#news .answer .written")).to_have_text(TUNED_TEXT)


def test_a_key_that_no_header_can_carry_is_refused(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key("我的密钥")
    expect(page.one("#key-status")).to_contain_text("密钥只能由英文字母")
    assert page.page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_the_key_is_kept_only_as_asked_and_forgotten_on_request(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key()
    assert page.page.evaluate("localStorage.getItem('fintunnel.key')") is None
    page.page.reload()
    expect(page.one("#key")).to_have_value("right-key")
    page.page.check("#key-remember")
    expect(page.one("#key-status")).to_contain_text("已保存")
    assert page.page.evaluate("localStorage.getItem('fintunnel.key')") == "right-key"
    assert page.page.evaluate("sessionStorage.getItem('fintunnel.key')") is None
    page.page.click("#key-forget")
    expect(page.one("#key")).to_have_value("")
    kept = page.page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    assert "right-key" not in kept and "right-key" not in page.page.url


def test_a_server_that_is_gone_is_said_and_retried(open_page: OpenPage, app: LiveApp) -> None:
    with relay_to(app.url) as relay:
        page = open_page(relay.url)
        page.use_key()
        relay.cut()
        page.expected.append("ERR_(CONNECTION|EMPTY|SOCKET)")
        card = page.analyze(HEADLINE)
        expect(card.locator(".failure")).to_contain_text("连不上服务")
        expect(page.one("#news-form .status")).to_have_text("没有完成")
        expect(page.one("[name=text]")).to_have_value(HEADLINE)
        page.shot("11-server-gone")
        relay.mend()
        card.locator(".retry").click()
        expect(page.one("#news .answer .written")).to_have_text(TUNED_TEXT)


def test_a_line_that_breaks_in_the_middle_keeps_what_came(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.delay = 0.1
    with relay_to(app.url) as relay:
        page = open_page(relay.url)
        page.use_key()
        page.expected.append("ERR_(CONNECTION|EMPTY|SOCKET|INCOMPLETE)")
        card = page.analyze(HEADLINE)
        expect(card.locator(".written")).to_contain_text("公布值")
        relay.cut()
        expect(card.locator(".failure")).to_contain_text("连接中断")
        expect(card.locator(".written")).to_contain_text("公布值")
        expect(card.locator(".bars")).to_have_count(2)
        expect(page.one("[name=text]")).to_have_value(HEADLINE)
        page.shot("12-interrupted")
        page.tab("history")
        expect(page.one("#history-list")).to_contain_text("还没有记录")


def test_an_unforeseen_failure_shows_its_number(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    page = open_page(app.url)
    page.use_key()
    page.expected.append("status of 500")
    models.failure = RuntimeError("the model's memory is full of bees")
    card = page.analyze(HEADLINE)
    expect(card.locator(".failure")).to_contain_text("internal_error")
    expect(card.locator(".failure")).not_to_contain_text("bees")

"""Phones, the dark, English, the keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.two_models import TUNED_TEXT
from tests.browser.watched_page import WatchedPage
from tests.live_app import LiveApp

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

# WCAG 2.2 AA: 4.5 for text, 3 for large text; what is disabled is exempt.
LOW_CONTRAST = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const colour = parts(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const low = [];
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!own || !node.checkVisibility() || node.disabled) continue;
        const style = getComputedStyle(node);
        const [a, b] = [luminance(parts(style.color)), luminance(ground(node))].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) low.push(`${node.outerHTML.slice(0, 90)} ${ratio}`);
    }
    return low;
}"""


def visit_all(page: WatchedPage, look: str) -> None:
    """Every tab with something in it; on each, nothing is wider than the window and the text can be read."""
    page.use_key()
    page.page.select_option("#compare", "base")
    page.page.click("#examples button:nth-child(2)")
    page.page.click("#news-form .main")
    expect(page.one("#news .answer[data-state=done]")).to_have_count(2)
    for summary in page.one("#news details > summary").all():
        summary.click()
    expect(page.one("#news .snippets code")).to_contain_text("curl")
    check(page, f"{look}-news")
    page.tab("report")
    page.page.click("#report-example")
    page.page.click("#report-form .main")
    expect(page.one("#report .answer[data-state=done]")).to_have_count(2)
    check(page, f"{look}-report")
    page.tab("batch")
    page.page.fill("[name=lines]", "某国央行宣布降息25个基点\n" + "某交易所公告" * 700 + "\n" + "w" * 300)
    page.page.click("#batch-form .main")
    expect(page.one("#batch-form .status")).to_contain_text("3 / 3" if look != "english" else "3 of 3")
    check(page, f"{look}-batch")
    page.tab("history")
    expect(page.one("#history-list .entry")).to_have_count(2)
    check(page, f"{look}-history")


def check(page: WatchedPage, name: str) -> None:
    size = page.page.viewport_size
    assert size is not None
    assert page.width() <= size["width"], name
    assert page.page.evaluate(LOW_CONTRAST) == [], name
    page.shot(f"30-{name}")


def test_a_phone_shows_everything_without_scrolling_sideways(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url, **PHONE)
    for name in ("#language", "#theme", ".tools a", "#key", "#key-forget", "#tab-history", "#model", "#compare"):
        box = page.one(name).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, name
    visit_all(page, "phone")


def test_the_dark_of_the_system_is_followed(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url, color_scheme="dark")
    assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 19, 30)"
    visit_all(page, "dark")


def test_the_theme_is_switched_and_remembered(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url, **PHONE)
    page.page.click("#theme")
    dark = "getComputedStyle(document.body).backgroundColor === 'rgb(13, 19, 30)'"
    assert page.page.evaluate(dark)
    page.page.reload()
    assert page.page.evaluate(dark)
    page.shot("31-phone-dark")
    page.page.click("#theme")
    assert not page.page.evaluate(dark)


def test_english_is_the_browsers_or_chosen_and_remembered(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url, locale="en-US")
    expect(page.one("#tab-report")).to_have_text("Reports")
    visit_all(page, "english")
    page.page.click("#language")
    expect(page.one("#tab-report")).to_have_text("财报问答")
    expect(page.one("#history-list .entry").nth(1)).to_contain_text("默认模型：高 · 利空")
    page.tab("news")
    expect(page.one("#news .answer .label.direction").nth(1)).to_have_text("利空")
    expect(page.one("#news .answer .written").nth(1)).to_have_text(TUNED_TEXT)
    page.page.reload()
    expect(page.one("html")).to_have_attribute("lang", "zh-CN")


def test_the_keyboard_is_enough(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    expect(page.one(".skip")).to_be_focused()
    page.one("#key").focus()
    keyboard.type("right-key")
    keyboard.press("Enter")
    expect(page.one("#model option[value=tuned]")).to_be_attached()
    page.one("#tab-news").focus()
    keyboard.press("ArrowRight")
    expect(page.one("#report")).to_be_visible()
    expect(page.one("#tab-report")).to_be_focused()
    keyboard.press("End")
    expect(page.one("#history")).to_be_visible()
    keyboard.press("Home")
    expect(page.one("#news")).to_be_visible()
    page.one("[name=text]").focus()
    keyboard.type("某国央行宣布降息")
    keyboard.press("Control+Enter")
    expect(page.one("#news .answer[data-state=done]")).to_be_visible()
    assert page.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_everything_that_is_filled_in_or_pressed_has_a_name(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button, a, progress")].filter((each) =>
            !(each.labels?.[0]?.textContent || each.textContent || each.getAttribute("aria-label") || "").trim()
        ).map((each) => each.outerHTML)"""
    )
    assert nameless == []

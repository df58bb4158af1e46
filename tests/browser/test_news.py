"""A headline is typed, an analysis comes."""

from __future__ import annotations

import time

import pytest
from fintunnel_server.errors import EngineBusy
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.two_models import BASE_TEXT, TUNED_TEXT, TwoModels
from tests.live_app import LiveApp, run_app

pytestmark = pytest.mark.browser

HEADLINE = "某国央行宣布维持基准利率不变"


def test_bars_come_first_and_the_rationale_in_pieces(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.delay = 0.05
    page = open_page(app.url)
    page.shot("01-empty")
    page.use_key()
    page.page.click("#examples button:nth-child(2)")
    page.page.click("#news-form .main")
    card = page.one("#news .answer")
    written = card.locator(".written")
    expect(card.locator(".bars li")).to_have_count(8)
    seen = set()
    while card.get_attribute("data-state") != "done":
        seen.add(written.text_content())
        time.sleep(0.05)
    lengths = {len(text or "") for text in seen}
    assert len(lengths) > 3 and all(TUNED_TEXT.startswith(text or "") for text in seen)
    expect(written).to_have_text(TUNED_TEXT)
    expect(card.locator(".label.impact")).to_have_text("高")
    expect(card.locator(".label.direction")).to_have_text("利空")
    expect(card.locator("li.chosen").first).to_contain_text("高")
    expect(card.locator("li.chosen .value").first).to_have_text("60.5%")
    expect(card.locator(".signal.on")).to_have_text(["预期兑现：是", "观望：是"])
    expect(card.locator("footer")).to_contain_text("往返")
    expect(card.locator("footer")).to_contain_text("instant + tuned")
    card.locator(".meaning summary").click()
    expect(card.locator(".meaning")).to_contain_text("到 2.1 为中")
    page.shot("02-analysis-light")


def test_base_and_tuned_stand_beside_each_other_with_what_differs(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key()
    page.page.select_option("#compare", "base")
    page.page.click("#examples button:nth-child(2)")
    page.page.click("#news-form .main")
    cards = page.one("#news .answer[data-state=done]")
    expect(cards).to_have_count(2)
    expect(cards.nth(0).locator("h2")).to_have_text("基座（未微调）")
    expect(cards.nth(1).locator("h2")).to_have_text("默认模型")
    expect(page.one("#news .summary .different")).to_have_text(["影响不同：中 → 高", "方向不同：利好 → 利空"])
    # 5.2 / 8.6 against 1 / 3.8
    expect(cards.nth(1).locator(".bars .delta").nth(2)).to_have_text("+34.1")
    expect(cards.nth(0).locator(".delta")).to_have_count(0)
    expect(cards.nth(0).locator(".written")).to_have_text(BASE_TEXT)
    expect(cards.nth(1).locator(".written mark").first).to_be_visible()
    assert "高于预期" not in "".join(cards.nth(1).locator(".written mark").all_text_contents())
    page.shot("03-comparison")


def test_fields_become_the_request_percent_as_fractions(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key()
    page.page.fill("[name=text]", HEADLINE)
    for summary in page.one("#news-form details > summary").all():
        summary.click()
    page.page.fill("[name='context.pre_return']", "-0.07")
    page.page.click("#news-form .main")
    expect(page.one("#news-form .status")).to_contain_text("三项都填")
    expect(page.one("[name='context.volatility']")).to_be_focused()
    page.page.fill("[name='context.volatility']", "0.31")
    page.page.fill("[name='context.typical_move']", "0.05")
    page.page.fill("[name='figures.actual']", "3.4")
    page.page.fill("[name='figures.unit']", "%")
    page.page.fill("[name=published_at]", "2026-05-08T20:30:00")
    page.page.select_option("[name=importance]", "3")
    with page.page.expect_request("**/analyze/stream") as sent:
        page.page.click("#news-form .main")
    assert sent.value.post_data_json == {
        "task": "news",
        "text": HEADLINE,
        "published_at": "2026-05-08T20:30:00",
        "importance": 3,
        "figures": {"actual": 3.4, "unit": "%"},
        "context": {
            "ticker": "XAUUSD",
            "window_min": 120,
            "pre_return": -0.0007,
            "volatility": 0.0031,
            "typical_move": 0.0005,
        },
    }
    expect(page.one("#news .answer[data-state=done]")).to_be_visible()
    page.shot("04-all-fields")


@pytest.mark.parametrize(
    ("text", "said"), [("  ", "请先填写“快讯”"), ("金" * 4001, "“快讯”太长：最多 4000 字")], ids=["blank", "long"]
)
def test_what_is_missing_or_too_long_is_said_before_asking(
    open_page: OpenPage, app: LiveApp, models: TwoModels, text: str, said: str
) -> None:
    page = open_page(app.url)
    page.use_key()
    before = len(models.asked)
    page.page.fill("[name=text]", text)
    page.page.click("#news-form .main")
    expect(page.one("#news-form .status")).to_contain_text(said)
    expect(page.one("[name=text]")).to_be_focused()
    assert len(models.asked) == before


def test_no_probabilities_is_said_and_no_bar_is_drawn(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.probabilities = False
    page = open_page(app.url)
    page.use_key()
    card = page.analyze(HEADLINE)
    expect(card.locator(".field > .hint")).to_have_text(["后端不给概率", "后端不给概率"])
    expect(card.locator(".bars li")).to_have_count(0)
    page.shot("05-no-probabilities")


def test_stop_ends_the_servers_work(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.delay = 0.3
    page = open_page(app.url)
    page.use_key()
    card = page.analyze(HEADLINE)
    expect(card.locator(".written")).not_to_be_empty()
    assert models.open_now == 1
    page.page.click("#news .stop")
    expect(card).to_contain_text("已停止")
    expect(page.one("#news .stop")).to_be_hidden()
    deadline = time.monotonic() + 5
    while models.open_now:
        assert time.monotonic() < deadline, "the model goes on writing for nobody"
        time.sleep(0.02)
    page.shot("06-stopped")


def test_a_report_question_highlights_what_is_cited(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.weights = {"0": 5.0, "2": 4.0, "": 0.1}
    page = open_page(app.url)
    page.use_key()
    page.tab("report")
    page.page.click("#report-example")
    page.page.click("#report-form .main")
    card = page.one("#report .answer[data-state=done]")
    expect(card.locator(".cited")).to_have_count(2)
    expect(card.locator(".cited mark").first).to_contain_text("48.6亿元")
    expect(card.locator(".label")).to_have_text("[1] [3]")
    expect(card.locator(".written")).to_have_text(TUNED_TEXT)
    page.page.click("#passages fieldset:nth-child(2) .remove")
    expect(page.one("#passages fieldset")).to_have_count(2)
    page.shot("07-report")


def test_a_busy_server_is_waited_for(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.failure = EngineBusy("排队的请求太多", retry_after=2.0)
    page = open_page(app.url)
    page.expected.append("status of 429")
    page.use_key()
    card = page.analyze(HEADLINE)
    retry = card.locator(".retry")
    expect(card.locator(".failure")).to_contain_text("排队的请求太多")
    expect(card.locator(".failure")).to_contain_text("queue_full")
    models.failure = None
    retry.click()
    expect(page.one("#news .answer[data-state=done] .written")).to_have_text(TUNED_TEXT)


def test_a_server_without_a_key_asks_for_none(open_page: OpenPage, models: TwoModels) -> None:
    with run_app(models, api_key=None) as app:
        page = open_page(app.url)
        card = page.analyze(HEADLINE)
        expect(card.locator(".written")).to_have_text(TUNED_TEXT)
        assert page.faults == []

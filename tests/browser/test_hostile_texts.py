"""Whatever a headline, a model or a server says stays text."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.two_models import TwoModels
from tests.live_app import LiveApp

pytestmark = pytest.mark.browser

HOSTILE = (
    "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script><a href='javascript:hacked=1'>点</a>"
)


def test_markup_of_headline_and_model_is_shown_not_run(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    models.text = models.base.text = HOSTILE
    page = open_page(app.url)
    page.use_key()
    page.page.select_option("#compare", "base")
    page.analyze(HOSTILE)
    expect(page.one("#news .answer[data-state=done] .written")).to_have_text([HOSTILE, HOSTILE])
    page.page.click("#news .snippets summary")
    expect(page.one("#news .snippets code")).to_contain_text("onerror")
    page.tab("batch")
    page.page.check("#batch-form [name=explain]")
    page.page.fill("[name=lines]", HOSTILE)
    page.page.click("#batch-form .main")
    expect(page.one("#batch-table tbody td").last).to_have_text(HOSTILE)
    page.tab("history")
    expect(page.one("#history-list .asked")).to_have_text(HOSTILE)
    page.tab("report")
    page.page.fill("[name=question]", HOSTILE)
    page.page.fill("#passages .source", HOSTILE)
    page.page.fill("#passages textarea", HOSTILE)
    page.page.click("#report-form .main")
    expect(page.one("#report .answer[data-state=done] .passages li")).to_have_count(2)
    assert page.page.evaluate("window.hacked") is None
    assert page.page.locator("main img, main script, main a").count() == 0
    page.shot("40-hostile")


def test_markup_in_an_error_is_shown_not_run(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    shown = page.page.evaluate(
        """async (message) => {
            const { Failure } = await import("/page/api.js");
            const { failureView } = await import("/page/failure_view.js");
            const view = failureView(new Failure("server", { message, code: message, request_id: message }), null);
            document.querySelector("#news .answers").append(view);
            const times = view.textContent.split(message).length - 1;
            return [view.querySelectorAll("p").length, view.children.length, times];
        }""",
        HOSTILE,
    )
    assert shown == [2, 2, 3] and page.page.evaluate("window.hacked") is None

"""The server's own rate limit, as a person at the page meets it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.two_models import TwoModels
from tests.live_app import run_app

pytestmark = pytest.mark.browser


def test_a_batch_waits_and_a_single_question_says_when_to_come_again(open_page: OpenPage, models: TwoModels) -> None:
    with run_app(models, api_key="right-key", rate_limit="12 per 2 seconds") as app:
        page = open_page(app.url)
        page.expected += ["status of 429", "status of 422"]
        page.use_key()
        page.tab("batch")
        page.page.fill("[name=lines]", "\n".join(f"第{number}条" for number in range(40)))
        page.page.click("#batch-form .main")
        expect(page.one("#batch-form .status")).to_contain_text("秒后继续")
        expect(page.one("#batch-form .status")).to_have_text("40 / 40，失败 0", timeout=40_000)
    with run_app(models, api_key="right-key", rate_limit="3 per 4 seconds") as app:
        page = open_page(app.url)
        page.expected.append("status of 429")
        page.use_key()
        for _ in range(4):
            page.analyze("某国央行宣布降息")
        expect(page.one("#news .wait")).to_contain_text("秒后可以重试")
        expect(page.one("#news .retry")).to_be_disabled()
        page.shot("13-rate-limit")
        expect(page.one("#news .retry")).to_be_enabled()

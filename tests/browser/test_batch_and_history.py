"""Many headlines at once, and what was asked before."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from playwright.sync_api import Download, Request, expect

from tests.browser.conftest import OpenPage
from tests.browser.relay import relay_to
from tests.browser.two_models import TUNED_TEXT, TwoModels
from tests.live_app import LiveApp

pytestmark = pytest.mark.browser

LINES = [
    "某国央行宣布降息25个基点",
    '=HYPERLINK("http://example.org")',
    "金" * 4001,
    "  ",
    "-1.5%，某国零售销售月率下滑",
    "",
]


def rows_of(download: Download) -> list[dict[str, str]]:
    content = Path(download.path()).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_lines_become_a_table_and_a_csv_with_one_bad_line(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key()
    page.tab("batch")
    page.page.fill("[name=lines]", "\n".join(LINES))
    expect(page.one("#line-count")).to_contain_text("4 条")
    page.page.click("#batch-form .main")
    expect(page.one("#batch-form .status")).to_have_text("4 / 4，失败 1")
    rows = page.one("#batch-table tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(0).locator(".label.direction")).to_contain_text("利空")
    expect(rows.nth(2).locator(".error")).to_contain_text("invalid_request")
    page.shot("20-batch")
    with page.page.expect_download() as download:
        page.page.click("#batch-csv")
    table = rows_of(download.value)
    assert [row["line"] for row in table] == ["1", "2", "3", "4"]
    assert table[1]["headline"] == "'" + LINES[1] and table[3]["headline"] == "'" + LINES[4]
    assert table[0]["impact"] == "high" and abs(float(table[0]["impact_high"]) - 5.2 / 8.6) < 1e-6
    assert table[2]["impact"] == "" and table[2]["error_code"] == "invalid_request"


def test_what_failed_in_a_batch_is_retried_alone(open_page: OpenPage, app: LiveApp, models: TwoModels) -> None:
    with relay_to(app.url) as relay:
        page = open_page(relay.url)
        page.use_key()
        page.tab("batch")
        page.page.check("#batch-form [name=explain]")
        page.page.fill("[name=lines]", "\n".join(f"第{number}条快讯" for number in range(1, 41)))
        models.delay = 0.003  # about a sixth of a second for each
        page.page.click("#batch-form .main")
        expect(page.one("#batch-form .status")).to_contain_text("8 / 40")
        page.expected.append("ERR_(CONNECTION|EMPTY|SOCKET)")
        relay.cut()
        expect(page.one("#batch-failure")).to_contain_text("连不上服务")
        page.shot("21-batch-broken")
        relay.mend()
        models.delay = 0.0
        sent: list[int] = []

        def count(request: Request) -> None:
            sent.append(len((request.post_data_json or {})["items"]))

        page.page.on("request", count)
        page.page.click("#batch-retry")
        expect(page.one("#batch-form .status")).to_have_text("40 / 40，失败 0")
        expect(page.one("#batch-retry")).to_be_hidden()
        expect(page.one("#batch-table tbody tr").last).to_contain_text(TUNED_TEXT)
        assert sum(sent) in (16, 32)  # all but the chunks of 8 and perhaps 16 that were answered
        assert max(sent) <= 64


def test_history_survives_a_reload_and_its_export_has_no_key(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    page.use_key()
    page.page.check("#key-remember")
    page.page.select_option("#compare", "base")
    page.analyze("+某指数收高0.4%")
    expect(page.one("#news .answer[data-state=done]")).to_have_count(2)
    page.page.reload()
    page.tab("history")
    entry = page.one("#history-list .entry")
    expect(entry).to_have_count(1)
    expect(entry).to_contain_text("默认模型：高 · 利空")
    page.shot("22-history")
    with page.page.expect_download() as download:
        page.page.click("#history-json")
    exported = Path(download.value.path()).read_text(encoding="utf-8")
    assert "right-key" not in exported
    assert [each["answer"]["model"]["adapter"] for each in json.loads(exported)[0]["answers"]] == [None, "tuned"]
    with page.page.expect_download() as download:
        page.page.click("#history-csv")
    table = rows_of(download.value)
    assert [row["model"] for row in table] == ["base", "fintunnel"] and table[0]["asked"] == "'+某指数收高0.4%"
    assert table[1]["text"] == TUNED_TEXT and "right-key" not in str(table)
    entry.locator(".open").click()
    expect(page.one("[name=text]")).to_have_value("+某指数收高0.4%")
    expect(page.one("#news .answer .written").nth(1)).to_have_text(TUNED_TEXT)
    page.tab("history")
    page.page.click("#history-clear")
    expect(entry).to_have_count(1)
    page.page.click("#history-clear")
    expect(entry).to_have_count(0)


def test_history_keeps_the_last_200_and_never_fails_for_lack_of_room(open_page: OpenPage, app: LiveApp) -> None:
    page = open_page(app.url)
    kept = page.page.evaluate(
        """async () => {
            const { entries, keep } = await import("/page/history.js");
            const asked = (text) => ({ request: { task: "news", text }, answers: [] });
            const answers = [{ model: "fintunnel", answer: { task: "news", impact: "low", direction: "neutral" },
                               times: { trip: 1, first: null } }];
            for (let n = 0; n < 205; n++) keep({ ...asked(String(n)), answers });
            const few = entries();
            localStorage.setItem("filler", "x".repeat(5_050_000)); // of about 5.2 million characters
            const fits = [];
            for (let n = 0; n < 60; n++) fits.push(keep({ ...asked("大".repeat(4000)), answers }));
            return [few.length, few[0].request.text, few[199].request.text, fits.every(Boolean), entries().length];
        }"""
    )
    assert kept[:4] == [200, "204", "5", True] and 1 <= kept[4] < 60

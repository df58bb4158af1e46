"""People rate pairs of answers blindly; what is kept names the systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fintunnel.rating_file import RatingFile
from fintunnel.wire import Passage
from fintunnel_server.rate.serving import rate_server
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.test_hostile_texts import HOSTILE
from tests.browser.test_look import LOW_CONTRAST, PHONE
from tests.browser.watched_page import WatchedPage
from tests.live_app import run_server
from tests.rated_pairs import BASE, TUNED, news_pair, rating_file, report_pair

pytestmark = pytest.mark.browser


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RatingFile]:
    with rating_file(tmp_path / "ratings.sqlite", 3) as made:
        yield made


@pytest.fixture
def url(file: RatingFile) -> Iterator[str]:
    with run_server(rate_server(file)) as url:
        yield url


def begin(page: WatchedPage, rater: str) -> None:
    page.page.fill("#rater", rater)
    page.page.click("#name-form .main")
    expect(page.one("#pair-form")).to_be_visible()


def score(page: WatchedPage, side: str, scale: str, value: int) -> None:
    page.page.click(f"label:has([name='{side}.{scale}'][value='{value}'])")


def tuned_side(page: WatchedPage) -> str:
    return "left" if page.one("#left .written").inner_text().startswith("「") else "right"


def prefer(page: WatchedPage, verdict: str) -> None:
    page.page.click(f"#verdict label:has([value='{verdict}'])")


def go_on(page: WatchedPage, position: str) -> None:
    page.page.click("#next")
    expect(page.one("#position")).to_have_text(position)


def test_three_pairs_are_rated_and_one_is_changed(open_page: OpenPage, url: str, file: RatingFile) -> None:
    page = open_page(url)
    expect(page.one("#rater")).to_be_focused()
    page.shot("50-rate-name")
    begin(page, " 张三 ")
    expect(page.one("#who")).to_have_text("评分人：张三")
    asked = []
    for position in (1, 2, 3):
        expect(page.one("#position")).to_have_text(f"第 {position} 组，共 3 组")
        asked.append(page.one(".asked-text").inner_text())
        side = tuned_side(page)
        other = "right" if side == "left" else "left"
        for scale in ("wording", "reasoning", "faithfulness", "usefulness"):
            score(page, side, scale, 5)
        score(page, other, "wording", 2)
        prefer(page, side)
        if position == 2:
            page.shot("51-rate-light")
        page.page.click("#next")
    expect(page.one("#thanks")).to_have_text("谢谢，张三！")
    expect(page.one("#count")).to_contain_text("全部 3 组")
    page.shot("52-rate-finished")
    assert len(set(asked)) == 3 and {each.verdict for each in file.ratings()} == {"first"}
    assert len(file.ratings()) == 3
    for kept in file.ratings():
        assert kept.rater == "张三" and 0 < kept.seconds < 60
        assert kept.scores_first == dict.fromkeys(("wording", "reasoning", "faithfulness", "usefulness"), 5)
        assert kept.scores_second == {"wording": 2}
    page.page.click("#look-again")
    expect(page.one("#position")).to_have_text("第 3 组，共 3 组")
    page.page.click("#back")
    expect(page.one("#position")).to_have_text("第 2 组，共 3 组")
    side = tuned_side(page)
    expect(page.one(f"#verdict [value='{side}']")).to_be_checked()
    expect(page.one(f"[name='{side}.reasoning'][value='5']")).to_be_checked()
    expect(page.one("#next")).to_have_text("下一组")
    prefer(page, "equal")
    score(page, side, "reasoning", 3)
    score(page, side, "usefulness", 5)  # once more: taken back
    expect(page.one("#next")).to_have_text("保存，下一组")
    go_on(page, "第 3 组，共 3 组")
    page.page.click("#next")  # nothing changed here
    expect(page.one("#finished")).to_be_visible()
    assert sorted(each.verdict for each in file.ratings()) == ["equal", "first", "first"]
    [changed] = [each for each in file.ratings() if each.verdict == "equal"]
    assert changed.scores_first == {"wording": 5, "reasoning": 3, "faithfulness": 5}
    assert changed.scores_second == {"wording": 2}
    markup = page.page.content()
    assert TUNED not in markup and BASE not in markup


def test_another_rater_sees_another_order_and_a_reload_the_same(
    open_page: OpenPage, url: str, file: RatingFile
) -> None:
    file.add_pairs([news_pair(number) for number in range(10, 40)])
    looks = {}
    for rater in ("张三", "李四"):
        page = open_page(url)
        begin(page, rater)
        looks[rater] = [page.one(each).inner_text() for each in ("#question", "#left", "#right")]
        page.page.reload()
        expect(page.one("#who")).to_have_text(f"评分人：{rater}")
        assert [page.one(each).inner_text() for each in ("#question", "#left", "#right")] == looks[rater]
        page.page.click("#change-rater")
        expect(page.one("#rater")).to_be_focused()
        page.page.reload()
        expect(page.one("#rater")).to_have_value("")
    assert looks["张三"][0] != looks["李四"][0]


def test_a_name_that_is_none_is_refused(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    page.expected.append("status of 422")
    for name in ("  ", "甲" * 41, "张\u200b三"):
        page.page.fill("#rater", name)
        page.page.click("#name-form .main")
        expect(page.one("#name-status")).to_contain_text("1 到 40 个看得见的字符")
        expect(page.one("#rater")).to_be_focused()


def test_markup_in_questions_answers_and_names_stays_text(open_page: OpenPage, tmp_path: Path) -> None:
    pair = news_pair(1, tuned=HOSTILE, base=HOSTILE)
    hostile = pair.model_copy(
        update={
            "request": pair.request.model_copy(update={"text": HOSTILE}),
            "first_answer": pair.first_answer.model_copy(update={"lines": [HOSTILE]}),
        }
    )
    with RatingFile(tmp_path / "hostile.sqlite") as file:
        file.add_pairs([hostile])
        with run_server(rate_server(file)) as url:
            page = open_page(url)
            begin(page, "<img src=x onerror=hacked=1>")
            expect(page.one(".asked-text")).to_have_text(HOSTILE)
            expect(page.one(".written")).to_have_text([HOSTILE, HOSTILE])
            expect(page.one(".lines li").filter(has_text="onerror")).to_have_text(HOSTILE)
            prefer(page, "equal")
            page.page.click("#next")
            expect(page.one("#thanks")).to_have_text("谢谢，<img src=x onerror=hacked=1>！")
            assert page.page.evaluate("window.hacked") is None
            assert page.page.locator("main img, main script, main a").count() == 0


def test_a_choice_outlives_a_server_that_is_gone(open_page: OpenPage, file: RatingFile) -> None:
    with run_server(rate_server(file)) as url:
        page = open_page(url)
        page.expected.append("ERR_")
        begin(page, "张三")
        score(page, "left", "wording", 4)
        prefer(page, "right")
    page.page.click("#next")
    expect(page.one("#failure .failure")).to_contain_text("你的选择还在")
    expect(page.one("#position")).to_have_text("第 1 组，共 3 组")
    expect(page.one("#verdict [value=right]")).to_be_checked()
    expect(page.one("[name='left.wording'][value='4']")).to_be_checked()
    page.shot("53-rate-gone")
    assert file.ratings() == []
    with run_server(rate_server(file), port=int(url.rpartition(":")[2])):
        page.page.click("#failure .retry")
        expect(page.one("#position")).to_have_text("第 2 组，共 3 组")
        expect(page.one("#failure .failure")).to_have_count(0)
    [kept] = file.ratings()
    assert kept.verdict != "equal" and [*kept.scores_first.values(), *kept.scores_second.values()] == [4]


def test_what_is_not_saved_yet_is_there_after_a_look_back(open_page: OpenPage, url: str, file: RatingFile) -> None:
    page = open_page(url)
    begin(page, "张三")
    prefer(page, "left")
    go_on(page, "第 2 组，共 3 组")
    score(page, "right", "reasoning", 2)
    page.page.click("#back")
    expect(page.one("#position")).to_have_text("第 1 组，共 3 组")
    expect(page.one("[name='right.reasoning']:checked")).to_have_count(0)
    expect(page.one("#verdict [value=left]")).to_be_checked()
    go_on(page, "第 2 组，共 3 组")
    expect(page.one("[name='right.reasoning'][value='2']")).to_be_checked()
    expect(page.one("#verdict :checked")).to_have_count(0)
    assert len(file.ratings()) == 1


def test_a_long_question_leaves_the_answers_near(open_page: OpenPage, tmp_path: Path) -> None:
    short = report_pair()
    assert short.request.task == "report"
    passages = [Passage(text="订单增加，" * 399, source="年报", page=at + 1) for at in range(8)]
    long = short.model_copy(update={"request": short.request.model_copy(update={"passages": passages})})
    with RatingFile(tmp_path / "long.sqlite") as file:
        file.add_pairs([long])
        with run_server(rate_server(file)) as url:
            page = open_page(url)
            begin(page, "张三")
            box = page.one("#left").bounding_box()
            assert box is not None and box["y"] < 700
            page.one(".passages").focus()
            page.page.keyboard.press("End")
            expect(page.one(".passages li").last).to_be_in_viewport()
            page.shot("57-rate-long")


def test_the_keyboard_is_enough(open_page: OpenPage, url: str, file: RatingFile) -> None:
    page = open_page(url)
    keyboard = page.page.keyboard
    keyboard.type("张三")
    keyboard.press("Enter")
    expect(page.one("#question")).to_be_focused()
    keyboard.press("Enter")
    expect(page.one("#pair-status")).to_have_text("请先选哪个更好。")
    page.one("[name='left.wording']").first.focus()
    keyboard.press("4")
    expect(page.one("[name='left.wording'][value='4']")).to_be_checked()
    keyboard.press("ArrowRight")
    expect(page.one("[name='left.wording'][value='5']")).to_be_checked()
    assert page.page.evaluate("getComputedStyle(document.activeElement.parentElement).outlineStyle") == "solid"
    keyboard.press("Delete")
    expect(page.one("[name='left.wording']:checked")).to_have_count(0)
    page.one("#question").focus()
    for verdict, digit in (("left", "1"), ("right", "3"), ("equal", "2")):
        keyboard.press(digit)
        expect(page.one(f"#verdict [value={verdict}]")).to_be_checked()
    keyboard.press("Enter")
    expect(page.one("#position")).to_have_text("第 2 组，共 3 组")
    assert [each.verdict for each in file.ratings()] == ["equal"]


@pytest.mark.parametrize("look", ["phone", "dark", "english"])
def test_it_looks_as_it_should(open_page: OpenPage, url: str, look: str) -> None:
    looks: dict[str, dict[str, Any]] = {
        "phone": PHONE,
        "dark": {"color_scheme": "dark"},
        "english": {"locale": "en-US"},
    }
    page = open_page(url, **looks[look])
    check(page, f"54-rate-{look}-name")
    begin(page, "张三")
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("input, button, progress")].filter((each) =>
            !(each.labels?.[0]?.textContent || each.textContent || each.getAttribute("aria-label") || "").trim()
        ).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    for at in (1, 2):
        score(page, "left", "reasoning", 4)
        prefer(page, "left")
        check(page, f"55-rate-{look}-{at}")
        go_on(page, f"Pair {at + 1} of 3" if look == "english" else f"第 {at + 1} 组，共 3 组")
    if look == "english":
        prefer(page, "right")
        page.page.click("#language")
        expect(page.one("#position")).to_have_text("第 3 组，共 3 组")
        expect(page.one("#verdict [value=right]")).to_be_checked()
    prefer(page, "right")
    page.page.click("#next")
    expect(page.one("#finished")).to_be_visible()
    check(page, f"56-rate-{look}-finished")


def check(page: WatchedPage, name: str) -> None:
    size = page.page.viewport_size
    assert size is not None
    assert page.width() <= size["width"], name
    assert page.page.evaluate(LOW_CONTRAST) == [], name
    page.shot(name)


def test_both_languages_have_every_text_that_is_used(open_page: OpenPage, url: str) -> None:
    page = open_page(url)
    texts = page.page.evaluate(
        """async () => [(await import("/page/texts_zh.js")).zh, (await import("/page/texts_en.js")).en]"""
    )
    assert texts[0].keys() == texts[1].keys() and all(text for each in texts for text in each.values())
    missing = page.page.evaluate(
        """() => [...document.querySelectorAll("[data-i18n]")].filter((each) => !each.textContent)
            .map((each) => each.outerHTML)"""
    )
    assert missing == []

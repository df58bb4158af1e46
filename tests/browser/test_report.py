"""A comparison's report as a browser shows and prints it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fintunnel_training.comparison.report import defence
from fintunnel_training.comparison.report.defence import LONGEST, questions
from fintunnel_training.comparison.report.say import Language, Say
from fintunnel_training.comparison.report.untrusted import shortened
from fintunnel_training.comparison.report.write import write_report
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

from tests.browser.test_look import LOW_CONTRAST, PHONE
from tests.training.comparison_variants import variant

pytestmark = pytest.mark.browser

LANGUAGES: tuple[Language, ...] = ("zh", "en")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    for name in ("full", "hostile"):
        for language in LANGUAGES:
            write_report(variant(name), folder / f"{name}-{language}", language=language, loss_curves={})
    for name in ("cases_only", "few_rows"):
        write_report(variant(name), folder / f"{name}-zh", language="zh", loss_curves={})
    return folder


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    contexts = []

    def open_one(path: Path, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        assert faults == []
        return page

    yield open_one
    for context in contexts:
        context.close()


LOOKS: dict[str, dict[str, Any]] = {"desk": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}


@pytest.mark.parametrize(
    ("name", "look"),
    [("full-zh", "desk"), ("full-zh", "dark"), ("full-zh", "phone"), ("full-en", "desk"), ("hostile-zh", "phone")],
)
def test_nothing_is_wider_than_the_window_and_all_can_be_read(
    opened: Any, reports: Path, kept_screenshots: Path | None, tmp_path: Path, name: str, look: str
) -> None:
    for document in ("report", "defence"):
        page: Page = opened(reports / name / f"{document}.html", **LOOKS[look])
        size = page.viewport_size
        assert size is not None and page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert page.evaluate(LOW_CONTRAST) == []
        pictures = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
        assert page.evaluate(pictures)
        folder = kept_screenshots or tmp_path
        page.screenshot(path=folder / f"60-{document}-{name}-{look}.png", full_page=True)


@pytest.mark.parametrize("name", ["full-zh", "full-en", "hostile-zh", "hostile-en", "cases_only-zh", "few_rows-zh"])
def test_the_defence_sheet_is_one_page(opened: Any, reports: Path, name: str) -> None:
    page: Page = opened(reports / name / "defence.html")
    assert pages_with_room(page) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_longest_answers_are_one_page_as_well(
    opened: Any, tmp_path: Path, language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"zh": "很长的回答，", "en": "a long answer, "}[language] * 200
    asked = questions(variant("full"), Say(language))
    long = [(question, shortened(words, LONGEST[language])) for question, _ in asked]
    monkeypatch.setattr(defence, "questions", lambda *_: long)
    path = tmp_path / "defence.html"
    path.write_text(defence.defence_html(variant("full"), language), encoding="utf-8")
    assert pages_with_room(opened(path)) == 1


@pytest.mark.parametrize("name", ["full-zh", "full-en", "hostile-zh"])
def test_the_report_prints_whole(opened: Any, reports: Path, name: str) -> None:
    page: Page = opened(reports / name / "report.html")
    assert 5 < pages(page) < 20
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})  # 186 mm: A4 less its margins
    wide = """() => [...document.querySelectorAll("table, img")]
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.className)"""
    assert page.evaluate(wide) == []


def pages_with_room(page: Page) -> int:
    """Another system's font may be wider: a tenth of the sheet is kept free."""
    page.add_style_tag(content="@media print { main { zoom: 1.05; } }")
    return pages(page)


def pages(page: Page) -> int:
    return len(PdfReader(BytesIO(page.pdf(prefer_css_page_size=True))).pages)

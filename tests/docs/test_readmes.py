"""The two READMEs say the same in two languages, as far as a program can tell."""

from __future__ import annotations

import re

from tests.docs.markdown_page import ROOT, read_page

ENGLISH, CHINESE = read_page(ROOT / "README.md"), read_page(ROOT / "README.zh-CN.md")


def test_headings_texts_lists_tables_and_blocks_stand_in_the_same_order() -> None:
    assert ENGLISH.parts == CHINESE.parts
    assert ENGLISH.parts.count("h2") > 10


def test_code_blocks_are_the_same() -> None:
    english, chinese = ([(b.language, b.text, b.not_run) for b in page.blocks] for page in (ENGLISH, CHINESE))
    assert english == chinese
    assert len(english) > 10


def test_tables_have_the_same_rows_and_the_same_code_in_their_first_column() -> None:
    shapes = [
        [[(len(row), re.findall(r"`([^`]+)`", row[0])) for row in table] for table in page.tables]
        for page in (ENGLISH, CHINESE)
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 4


def test_links_lead_to_the_same_places() -> None:
    english, chinese = (sorted(map(_neutral, page.targets)) for page in (ENGLISH, CHINESE))
    assert english == chinese


def _neutral(target: str) -> str:
    """Without the language that a picture's or the other README's name carries."""
    return re.sub(r"\.(en|zh)\.png$", ".png", target).replace("README.zh-CN.md", "README.md")

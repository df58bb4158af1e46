"""The two READMEs say the same in two languages, as far as a program can tell."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT, blocks_of, headings_of, tables_of

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def test_headings_are_of_the_same_number_and_depth() -> None:
    depths = [[heading.split(" ")[0] for heading in headings_of(path)] for path in (ENGLISH, CHINESE)]
    assert depths[0] == depths[1]
    assert len(depths[0]) > 10


def test_sections_hold_the_same_parts_in_the_same_order() -> None:
    parts = [re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE) for path in (ENGLISH, CHINESE)]
    shapes = [[_shape(section) for section in sections] for sections in parts]
    for english, chinese in zip(*shapes, strict=True):
        assert english == chinese


def test_code_blocks_are_the_same() -> None:
    english, chinese = ([(b.language, b.text) for b in blocks_of(path)] for path in (ENGLISH, CHINESE))
    assert english == chinese


def test_tables_have_the_same_rows_and_the_same_code_in_their_first_column() -> None:
    english, chinese = tables_of(ENGLISH), tables_of(CHINESE)
    assert len(english) == len(chinese)
    for ours, theirs in zip(english, chinese, strict=True):
        assert [len(row) for row in ours] == [len(row) for row in theirs]
        assert [_code(row[0]) for row in ours] == [_code(row[0]) for row in theirs]


def test_links_lead_to_the_same_places() -> None:
    english, chinese = (_links(path.read_text(encoding="utf-8")) for path in (ENGLISH, CHINESE))
    assert [_neutral(link) for link in english] == [_neutral(link) for link in chinese]


def _shape(section: str) -> list[str]:
    """Blocks, list items, tables and pictures, in order."""
    marks = {"```": "block", "- ": "item", "|": "table", "![": "picture"}
    shape: list[str] = []
    inside = False
    for line in section.splitlines():
        inside ^= line.startswith("```")
        mark = next((name for start, name in marks.items() if line.startswith(start)), None)
        if re.match(r"\d\. ", line):
            mark = "step"
        if mark is not None and (not inside or mark == "block") and not (mark == "table" and shape[-1:] == ["table"]):
            shape.append(mark)
    return shape


def _code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _links(text: str) -> list[str]:
    return sorted(re.findall(r"\]\(([^)\s]+)\)", text))


def _neutral(link: str) -> str:
    """Without the language that a picture's or the other README's name carries."""
    return re.sub(r"\.(en|zh)\.png$", ".png", link).replace("README.zh-CN.md", "README.md")

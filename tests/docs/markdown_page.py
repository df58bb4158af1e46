"""A Markdown file as GitHub shows it: headings and their anchors, links, tables, fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["COMMANDS", "ROOT", "Block", "Page", "documents", "read_page", "slug", "tables_in"]

ROOT = Path(__file__).parents[2]
COMMANDS = ("bash", "powershell", "python")
"""The languages whose blocks a reader runs."""

_HTML_TARGET = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']", re.IGNORECASE)
_HTML_ANCHOR = re.compile(r"<\w+\b[^>]*?\b(?:id|name)=[\"']([^\"']+)[\"']", re.IGNORECASE)
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*")


@dataclass(frozen=True)
class Block:
    page: str
    """its path from the repository's root"""
    line: int
    language: str
    text: str
    not_run: str | None
    """why no test runs it, from the comment right above"""

    @property
    def is_command(self) -> bool:
        return self.language in COMMANDS

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    targets: tuple[str, ...]
    """of links and images, as they are written"""
    anchors: frozenset[str]
    parts: tuple[str, ...]
    """what it is made of at the top, in order: h1, h2, paragraph, fence, bullet_list, table …"""
    tables: tuple[tuple[tuple[str, ...], ...], ...]
    """tables of rows of cells, as they are written"""
    blocks: tuple[Block, ...]


def documents() -> list[Path]:
    """The READMEs first: their commands make what the other documents' use."""
    first = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
    others = {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")}
    return first + sorted(others - set(first))


@lru_cache(maxsize=256)
def read_page(path: Path) -> Page:
    top = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    tokens = list(_flat(top))
    html = "\n".join(token.content for token in tokens if token.type in ("html_inline", "html_block"))
    targets = [
        str(token.attrs["href" if token.type == "link_open" else "src"])
        for token in tokens
        if token.type in ("link_open", "image")
    ]
    headings = [inline for opened, inline in zip(tokens, tokens[1:], strict=False) if opened.type == "heading_open"]
    anchors = _anchors([_plain(inline) for inline in headings])
    return Page(
        targets=(*targets, *_HTML_TARGET.findall(html)),
        anchors=frozenset([*anchors, *_HTML_ANCHOR.findall(html)]),
        parts=tuple(_parts(top)),
        tables=tuple(_tables(top)),
        blocks=tuple(_blocks(path, top)),
    )


def _flat(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        if token.children:
            yield from _flat(token.children)


def _plain(inline: Token) -> str:
    return "".join(token.content for token in _flat(inline.children or []) if token.type in ("text", "code_inline"))


def slug(heading: str) -> str:
    """GitHub's: lower case; letters of any script, digits, hyphens and underscores stay, spaces become hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _anchors(headings: list[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in headings:
        anchor = slug(heading)
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        yield f"{anchor}-{count}" if count else anchor


def _parts(top: Sequence[Token]) -> Iterator[str]:
    for token in top:
        if token.level == 0 and token.nesting >= 0:
            yield token.tag if token.type == "heading_open" else token.type.removesuffix("_open")
        elif token.type == "list_item_open" and token.level == 1:
            yield "item"


def tables_in(markdown: str) -> list[tuple[tuple[str, ...], ...]]:
    """Tables of rows of cells, as they are written."""
    return list(_tables(MarkdownIt("commonmark").enable("table").parse(markdown)))


def _tables(top: Sequence[Token]) -> Iterator[tuple[tuple[str, ...], ...]]:
    rows: list[list[str]] = []
    for token, following in zip(top, top[1:], strict=False):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(following.content)
        if following.type == "table_close":
            yield tuple(tuple(row) for row in rows)


def _blocks(path: Path, top: Sequence[Token]) -> Iterator[Block]:
    page = (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()
    for before, token in zip([None, *top], top, strict=False):
        if token.type == "fence" and token.map is not None:
            reason = _NOT_RUN.fullmatch(before.content) if before is not None and before.type == "html_block" else None
            yield Block(page, token.map[0] + 1, token.info, token.content, reason[1] if reason else None)

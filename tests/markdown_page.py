"""A Markdown file as GitHub shows it: what it links to, and the anchors that it offers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_HTML_TARGET = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']", re.IGNORECASE)
_HTML_ANCHOR = re.compile(r"<\w+\b[^>]*?\b(?:id|name)=[\"']([^\"']+)[\"']", re.IGNORECASE)


@dataclass(frozen=True)
class Page:
    targets: tuple[str, ...]
    """of links and images, as they are written"""
    anchors: frozenset[str]


@lru_cache(maxsize=256)
def read_page(path: Path) -> Page:
    tokens = list(_flat(MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))))
    html = "\n".join(token.content for token in tokens if token.type in ("html_inline", "html_block"))
    targets = [
        str(token.attrs["href" if token.type == "link_open" else "src"])
        for token in tokens
        if token.type in ("link_open", "image")
    ]
    headings = [inline for opened, inline in zip(tokens, tokens[1:], strict=False) if opened.type == "heading_open"]
    anchors = _anchors([_plain(inline) for inline in headings])
    return Page((*targets, *_HTML_TARGET.findall(html)), frozenset([*anchors, *_HTML_ANCHOR.findall(html)]))


def _flat(tokens: list[Token]) -> Iterator[Token]:
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

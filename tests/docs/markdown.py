"""What the tests need to know of the documents: their headings, tables and fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMMANDS", "ROOT", "Block", "blocks_of", "documents", "headings_of", "tables_of"]

ROOT = Path(__file__).parents[2]
COMMANDS = ("bash", "powershell", "python")
"""The languages whose blocks a reader runs."""

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->\n\Z")


@dataclass(frozen=True)
class Block:
    document: str
    """its path from the repository's root"""
    line: int
    language: str
    text: str
    not_run: str | None
    """why no test runs it, from the comment above it"""

    @property
    def is_command(self) -> bool:
        return self.language in COMMANDS

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Every document of the project, the READMEs first: their commands make what the others use."""
    first = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
    others = {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")}
    return first + sorted(others - set(first))


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        reason = _NOT_RUN.search(before)
        found.append(
            Block(
                path.relative_to(ROOT).as_posix(),
                before.count("\n") + 1,
                fence["language"],
                fence["text"],
                reason["reason"] if reason else None,
            )
        )
    return found


def headings_of(path: Path) -> list[str]:
    return re.findall(r"^#+ .+$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)


def tables_of(path: Path) -> list[list[list[str]]]:
    """Tables, rows, cells."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()] for table in tables]

"""What cells show besides text: tables, pictures, a report. Texts of models and news are escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fintunnel.terminal_text import printable

__all__ = ["LivePicture", "Table", "show", "show_page", "show_picture"]

_PAGE_BYTES = 3 * 2**20  # what a saved notebook should carry at most


@dataclass(frozen=True)
class Table:
    """Shown by a notebook as HTML, elsewhere as lines."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        lines = ["  ".join(map(printable, row)) for row in (self.columns, *self.rows)]
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        style = 'style="text-align:left;vertical-align:top;white-space:pre-wrap;max-width:36em"'
        head = "".join(f"<th {style}>{html.escape(cell)}</th>" for cell in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td {style}>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows
        )
        return f"<p><b>{html.escape(self.title)}</b></p><table><tr>{head}</tr>{body}</table>"


def show(thing: Any) -> None:
    from IPython.display import display

    display(thing)


def show_picture(file: Path) -> None:
    from IPython.display import Image

    show(Image(filename=str(file)))


def show_page(file: Path) -> None:
    """A page that carries all of its pictures, in a frame of its own that runs no scripts; one that is too large to
    be saved in a notebook is left out."""
    from IPython.display import HTML

    if file.stat().st_size <= _PAGE_BYTES:
        page = html.escape(file.read_text(encoding="utf-8"))
        frame = f'<iframe sandbox srcdoc="{page}" style="width:100%;height:640px;border:1px solid #ccc"></iframe>'
        show(HTML(frame))


class LivePicture:
    """A picture in the cell that follows a file which another process writes anew from time to time."""

    def __init__(self, file: Path, until_then: str) -> None:
        from IPython.display import DisplayHandle

        self._file = file
        self._shown = 0  # modification time, nanoseconds
        self._display: Any = DisplayHandle()
        self._display.display({"text/plain": until_then}, raw=True)

    def update(self) -> None:
        try:
            changed = self._file.stat().st_mtime_ns
        except OSError:
            return  # not there yet, or gone with the run's folder
        if changed != self._shown:
            self._shown = changed
            self.show(self._file)

    def show(self, file: Path) -> None:
        from IPython.display import Image

        try:
            self._display.update(Image(filename=str(file)))
        except (OSError, ValueError):
            return  # replaced meanwhile: the next look has it

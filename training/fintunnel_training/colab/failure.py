"""The one error that reaches a cell.

It is no `FinTunnelError`: the first sections run before anything is installed, with the standard library alone.
"""

from __future__ import annotations

__all__ = ["CellError"]


class CellError(Exception):
    """Ends the cell, and a "run all" with it, with one line instead of a traceback: what is wrong and what to do.

    `output`: what the command that failed put out, where it was one."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output

    def _render_traceback_(self) -> list[str]:
        """Asked for by IPython in place of its own traceback."""
        return [f"[错误] {self}"]

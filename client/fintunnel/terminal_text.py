"""Text on a terminal: its encoding, control sequences of a model, a server or a file, and the system's English."""

from __future__ import annotations

import sys

__all__ = ["printable", "system_reason", "use_utf8"]

_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: "没有这个文件",
    IsADirectoryError: "它是目录",
    NotADirectoryError: "路径里有一段不是目录",
    PermissionError: "没有权限，或被别的程序占用",
    FileExistsError: "已经有了",
}


def printable(text: str) -> str:
    """Control characters are shown as escapes, never sent to the terminal; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def system_reason(error: OSError) -> str:
    """Why, in Chinese where it is one of the usual reasons."""
    return _REASONS.get(type(error)) or error.strerror or type(error).__name__


def use_utf8() -> None:
    """Chinese comes out whole on any console, the GBK ones of Windows too."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")

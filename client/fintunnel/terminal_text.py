"""Text on a terminal: its encoding, control sequences of a model, a server or a file, and the system's English."""

from __future__ import annotations

import errno
import sys
import unicodedata

__all__ = ["is_plain", "printable", "system_reason", "use_utf8"]

_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: "没有这个文件",
    IsADirectoryError: "它是目录",
    NotADirectoryError: "路径里有一段不是目录",
    PermissionError: "没有权限，或被别的程序占用",
    FileExistsError: "已经有了",
}
_REASONS_BY_NUMBER = {
    errno.ENOSPC: "磁盘满了",
    errno.EROFS: "磁盘是只读的",
    errno.ENAMETOOLONG: "名字太长",
    errno.ELOOP: "链接绕成了圈",
    errno.EMFILE: "这个程序打开的文件太多",
    errno.EADDRINUSE: "已被占用",
    errno.EADDRNOTAVAIL: "这台机器没有这个地址",
}


def printable(text: str) -> str:
    """Control characters are shown as escapes, never sent to the terminal; line ends and tabs stay."""
    return "".join(c if is_plain(c) or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def is_plain(character: str) -> bool:
    """Whether a terminal shows it as it is; so is the wide space of Chinese texts, which Python calls not printable."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def system_reason(error: Exception) -> str:
    """Why a file, a folder or a port cannot be used, in Chinese where it is one of the usual reasons. The first line
    of what is no error of the system's: a path with a zero byte is a ValueError, and torch has its own for a full disk.
    """
    if isinstance(error, OSError):
        known = _REASONS_BY_NUMBER.get(error.errno or 0) or _REASONS.get(type(error)) or error.strerror
        if known:
            return known
    return (str(error).splitlines() or [type(error).__name__])[0]


def use_utf8() -> None:
    """Chinese comes out whole on any console, the GBK ones of Windows too."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")

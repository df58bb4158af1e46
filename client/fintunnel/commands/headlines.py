"""Headlines from a file or a pipe, one a line, in whatever encoding Windows wrote them."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

from fintunnel.errors import ConfigurationError
from fintunnel.terminal_text import system_reason

__all__ = ["headlines_from"]

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",  # what `>` writes in Windows PowerShell
    codecs.BOM_UTF16_BE: "utf-16",
}


def headlines_from(path: Path | None) -> list[str]:
    """The lines of a file, or of the standard input where `path` is None; blank ones are left out.

    Raises:
        ConfigurationError: the file cannot be read, is no text, or holds nothing.
    """
    name = "标准输入" if path is None else str(path)
    if path is None and sys.stdin is None:
        raise ConfigurationError("没有标准输入可读")
    try:
        content = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name} 无法读取：{system_reason(error)}") from error
    lines = [line.strip() for line in _decode(content, name).splitlines()]
    headlines = [line for line in lines if line]
    if not headlines:
        raise ConfigurationError(f"{name} 里没有消息", advice="一行写一条。")
    return headlines


def _decode(content: bytes, name: str) -> str:
    encodings = [encoding for bom, encoding in _BOMS.items() if content.startswith(bom)] or ["utf-8", "gb18030"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ConfigurationError(f"{name} 不是文本文件", advice="请另存为 UTF-8 的文本，一行一条。")

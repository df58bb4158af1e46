"""Reads anybody's instruction file without stopping at a bad line, which is counted with its number and reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fintunnel.terminal_text import system_reason

from fintunnel_training.dataset.checks.findings import Example, excerpt
from fintunnel_training.errors import DataError, OptionError
from fintunnel_training.instructions import InstructionRow, parse_object, parse_row, refuse_database

__all__ = ["CheckedFile", "CheckedRow", "read_rows"]

_CHAT_KEYS = ("conversations", "messages", "conversation")
_PAIR_KEYS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("query", "response"))


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A readable row. `raw` is the whole object of its line, `line` counts from 1."""

    split: str
    file: str
    line: int
    row: InstructionRow
    raw: dict[str, Any]

    @property
    def kind(self) -> str:
        """ "news", "market" or "report" of FinTunnel's own rows; empty for a row made elsewhere."""
        kind = self.meta.get("kind")
        return kind if self.row.request is not None and isinstance(kind, str) else ""

    @property
    def meta(self) -> dict[str, Any]:
        meta = self.raw.get("meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def prompt(self) -> str:
        return f"{self.row.instruction}\n{self.row.input}"

    def example(self, text: str, around: str = "") -> Example:
        return Example(self.file, self.line, excerpt(text, around))


@dataclass
class CheckedFile:
    """`lines`: how many lines are not blank; `other_format`: rows of conversations or of other column names."""

    split: str
    path: Path
    lines: int = 0
    rows: list[CheckedRow] = field(default_factory=list)
    malformed: list[Example] = field(default_factory=list)
    other_format: list[Example] = field(default_factory=list)


def read_rows(path: Path, split: str) -> CheckedFile:
    """Read every line of a JSONL file.

    Raises:
        DataError: no such file, a folder, a database, nothing in it, or a JSON array (exit status 2 where the path
            is wrong).
    """
    data = _read(path)
    refuse_database(data, path)
    if data.lstrip()[:1] == b"[":
        _refuse_array(data, path)
    file = CheckedFile(split, path)
    for number, line in _lines(data):
        file.lines += 1
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            shown = line.decode("utf-8", "backslashreplace")
            file.malformed.append(Example(path.name, number, f"不是 UTF-8 编码：{excerpt(shown)}"))
            continue
        try:
            raw = parse_object(text, "这一行")
            if _is_other_format(raw):
                file.other_format.append(Example(path.name, number, "字段：" + excerpt("、".join(map(str, raw)))))
                continue
            row = parse_row(raw, "这一行")
            _refuse_blank_or_nul(row)
        except DataError as error:
            file.malformed.append(Example(path.name, number, excerpt(str(error)) + _of(text)))
        else:
            file.rows.append(CheckedRow(split, path.name, number, row, raw))
    if not file.lines:
        raise DataError(f"{path} 里没有任何一行数据")
    return file


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = {FileNotFoundError: "没有这个文件", IsADirectoryError: "这是一个文件夹，请给出里面的 .jsonl 文件"}
        raise OptionError(f"无法读取 {path}：{reason.get(type(error), system_reason(error))}") from error
    return data.removeprefix(b"\xef\xbb\xbf")


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    # On "\n" alone: JSON allows U+2028 and other marks inside of strings.
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _refuse_array(data: bytes, path: Path) -> None:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError):
        return  # lines that happen to begin so: each gets its own finding
    if isinstance(rows, list) and (b"\n" in data.strip() or not rows or isinstance(rows[0], dict)):
        raise DataError(
            f"{path} 是一个 JSON 数组，不是 JSONL。请转换成一行一个对象："
            'python -c "import json; [print(json.dumps(row)) for row in '
            f"json.load(open('{path.name}', encoding='utf-8'))]\" > {path.stem}.jsonl"
        )


def _is_other_format(raw: dict[str, Any]) -> bool:
    if "output" in raw:
        return False
    return any(isinstance(raw.get(key), list) for key in _CHAT_KEYS) or any(
        first in raw and second in raw for first, second in _PAIR_KEYS
    )


def _refuse_blank_or_nul(row: InstructionRow) -> None:
    if not row.instruction.strip() and not row.input.strip():
        raise DataError("这一行的 instruction 和 input 都是空的")
    for name in ("instruction", "input", "output"):
        if "\0" in getattr(row, name):
            raise DataError(f"这一行的 {name} 里有 NUL 字符")


def _of(text: str) -> str:
    return f"：{excerpt(text.strip())}"

"""Reads instruction files: JSONL rows of `instruction`, `input`, `output` and optional `meta`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.prompt import PROMPT_VERSION, Style
from fintunnel.terminal_text import system_reason
from fintunnel.wire import HORIZON_MIN, AnalyzeRequest, Edges, NewsRequest, ReportRequest
from pydantic import TypeAdapter, ValidationError

from fintunnel_training.errors import DataError

__all__ = [
    "SPLITS",
    "SQLITE_MAGIC",
    "InstructionFile",
    "InstructionRow",
    "card_path",
    "parse_object",
    "parse_row",
    "read_instructions",
    "read_objects",
    "refuse_database",
    "split_paths",
]

SPLITS = ("train", "val", "test")
SQLITE_MAGIC = b"SQLite format 3\0"
"""what a database file begins with: https://www.sqlite.org/fileformat2.html#the_database_header"""

_REQUEST: TypeAdapter[NewsRequest | ReportRequest] = TypeAdapter(AnalyzeRequest)


@dataclass(frozen=True)
class InstructionRow:
    """`request` and `style` come from `meta` where FinTunnel made the row: such a prompt can be shortened by
    `prompt.fit`. A row made elsewhere has None and is used as it stands."""

    instruction: str
    input: str
    output: str
    request: NewsRequest | ReportRequest | None
    style: Style
    horizon_min: int = HORIZON_MIN


@dataclass(frozen=True)
class InstructionFile:
    """`edges` and `splits` come from the card beside the file; None and empty where there is none."""

    rows: list[InstructionRow]
    sha256: str
    edges: Edges | None
    splits: dict[str, str]

    @property
    def has_requests(self) -> bool:
        """Whether the rows teach FinTunnel's own prompts."""
        return any(row.request is not None for row in self.rows)


def split_paths(out: Path) -> dict[str, Path]:
    """`X.jsonl` → train `X.jsonl`, val `X.val.jsonl`, test `X.test.jsonl`."""
    return {split: out if split == "train" else out.with_suffix(f".{split}.jsonl") for split in SPLITS}


def read_instructions(path: Path) -> InstructionFile:
    """Read a JSONL file, its own or anybody's.

    Raises:
        DataError: no such file, or a line that is not a row (with its number).
    """
    raw, objects = read_objects(path, "指令集")
    rows = [parse_row(row, where) for where, row in objects]
    if not rows:
        raise DataError(f"{path} 里没有任何一行数据")
    sha256 = hashlib.sha256(raw).hexdigest()
    edges, splits = _read_card(card_path(path), sha256)
    return InstructionFile(rows, sha256, edges, splits)


def read_objects(path: Path, what: str = "", hint: str = "") -> tuple[bytes, list[tuple[str, dict[str, Any]]]]:
    """A JSONL file's bytes, and each of its objects with where it stands (file and line), for messages.

    Args:
        what, hint: in Chinese, what kind of file it is and what to add where it cannot be read.

    Raises:
        DataError: no such file, a database, not UTF-8, or a line that is no JSON object.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"无法读取{what} {path}：{system_reason(error)}" + (f"。{hint}" if hint else "")) from error
    refuse_database(raw, path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path} 第 {line} 行不是 UTF-8 编码") from error
    # Split on "\n" alone: str.splitlines would break rows at U+2028 and other marks that JSON allows inside.
    lines = [(f"{path} 第 {number} 行", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return raw, [(where, parse_object(line, where)) for where, line in lines]


def refuse_database(raw: bytes, path: Path) -> None:
    """Raises DataError for a database in an instruction file's place: the commonest of wrong files."""
    if raw.startswith(SQLITE_MAGIC):
        raise DataError(
            f"{path} 是 SQLite 数据库，不是 JSONL。"
            f"请先用它建指令集：fintunnel dataset build --db {path} --out 指令集.jsonl"
        )


def parse_object(line: str, where: str) -> dict[str, Any]:
    """One line as a JSON object. Raises: DataError, beginning with `where`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}不是 JSON：{error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}应是一个 JSON 对象")
    return row


def parse_row(row: dict[str, Any], where: str) -> InstructionRow:
    """An object as an instruction row. Raises: DataError, beginning with `where`."""
    fields = {}
    for name in ("instruction", "input", "output"):
        value = row.get(name, "" if name == "input" else None)
        if not isinstance(value, str):
            raise DataError(f"{where}缺少文本字段 {name}")
        if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
            raise DataError(f"{where}的 {name} 里有不完整的字符（半个代理对）")
        fields[name] = value
    if not fields["output"].strip():
        raise DataError(f"{where}的 output 是空的")
    request, style, horizon_min = _request_of(row.get("meta"), where)
    return InstructionRow(**fields, request=request, style=style, horizon_min=horizon_min)


def _request_of(meta: object, where: str) -> tuple[NewsRequest | ReportRequest | None, Style, int]:
    """What FinTunnel's own rows say of themselves; another tool's `meta` may hold anything and is left alone."""
    if not isinstance(meta, dict) or "request" not in meta or "prompt_version" not in meta:
        return None, "json", HORIZON_MIN
    if meta["prompt_version"] != PROMPT_VERSION:
        raise DataError(
            f"{where}的提示词版本是 {meta['prompt_version']}，现在是 {PROMPT_VERSION}。"
            "请重新运行 fintunnel dataset build。"
        )
    style = meta.get("style", "json")
    if style not in get_args(Style):
        raise DataError(f"{where}的 meta.style 未知：{style!r}")
    try:
        request = _REQUEST.validate_python(meta["request"])
    except ValidationError as error:
        raise DataError(f"{where}的 meta.request 无效：{rule_in_chinese(error.errors()[0])}") from error
    if isinstance(request, ReportRequest) and style != "json":
        raise DataError(f"{where}的 meta.style 不适用于财报问答：{style}")
    horizon_min = meta.get("horizon_min", HORIZON_MIN)
    if type(horizon_min) is not int or not 1 <= horizon_min <= 1440:
        raise DataError(f"{where}的 meta.horizon_min 应是 1 到 1440 的整数")
    return request, style, horizon_min


def card_path(path: Path) -> Path:
    return path.with_suffix(".card.json")


def _read_card(path: Path, data_sha256: str) -> tuple[Edges | None, dict[str, str]]:
    if not path.is_file():
        return None, {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if data_sha256 not in card["files_sha256"].values():
            raise DataError(
                f"数据卡 {path} 写的不是这个文件（内容已改动）。请重新运行 fintunnel dataset build；"
                "确定要用改过的数据，请删掉数据卡。"
            )
        splits = {split: " – ".join(period) for split, period in card["periods_utc"].items()}
        return Edges.model_validate(card["edges"]), splits
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"数据卡 {path} 损坏：{error}。请重新运行 fintunnel dataset build。") from error

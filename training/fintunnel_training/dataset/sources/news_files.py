"""News from files: `--news FILE.csv|jsonl`, with a mapping from the file's columns to what an event has.

Only what was known when a text came out can be mapped. The market before it is always computed from prices: a
column of somebody's own (`range_ratio` and the like) may cover the time after the event, so none is accepted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fintunnel.terminal_text import system_reason

from fintunnel_training.dataset.card_markdown import DROPPED_ZH
from fintunnel_training.dataset.sources.figures import parse_release
from fintunnel_training.dataset.sources.records import BEIJING, Event, clean_text, to_minute
from fintunnel_training.errors import DataError, OptionError

__all__ = ["parse_mapping", "parse_zone", "read_news"]

# What a file's column may be called when nothing is said; the first that is there counts.
_ALIASES: dict[str, tuple[str, ...]] = {
    "text": ("text", "content", "body", "正文", "内容", "title", "标题"),
    "time": ("time", "published_at", "ts_utc", "ts_local", "datetime", "时间", "发布时间", "date", "日期"),
    "id": ("id", "event_id", "编号"),
    "importance": ("importance", "star", "重要性"),
    "indicator": ("indicator", "name", "指标"),
    "actual": ("actual", "公布值", "实际值"),
    "consensus": ("consensus", "forecast", "预期", "预期值"),
    "previous": ("previous", "前值"),
    "unit": ("unit", "单位"),
}
_MAX_BYTES = 2 * 1024**3
_MAX_FIELD = 10_000_000  # characters of one CSV field


def parse_mapping(text: str) -> dict[str, str]:
    """`text=content,time=ts` → {"text": "content", "time": "ts"}.

    Raises:
        OptionError: not of that form, or a name that no event has.
    """
    mapping = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not column:
            raise OptionError(f"--news-columns 应形如 text=列名,time=列名，看不懂 {part!r}")
        if name not in _ALIASES:
            raise OptionError(
                f"--news-columns 里的 {name!r} 不能由文件提供，只能映射：{'、'.join(_ALIASES)}。"
                "发布前的行情一律由 prices_m1 重新计算：别处算好的列（如 range_ratio）可能含有发布之后的信息。"
            )
        if name in mapping:
            raise OptionError(f"--news-columns 里 {name} 出现了两次")
        mapping[name] = column
    return mapping


def parse_zone(name: str) -> tzinfo:
    if name == "Asia/Shanghai":
        return BEIJING  # needs no time zone data, which Windows does not bring
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise OptionError(f"--news-zone 不认识时区 {name!r}，例如 Asia/Shanghai 或 UTC") from error


def read_news(path: Path, mapping: Mapping[str, str], zone: tzinfo = BEIJING) -> tuple[list[Event], Counter[str]]:
    """Events from a CSV or JSONL file, and how many rows cannot be used, by reason.

    Args:
        mapping: event field → the file's column; fields not named are looked for under their usual names.
        zone: of times that name none. A column called `ts_utc` is UTC whatever this says.

    Raises:
        DataError: no such file, another format, no column for the text or the time, no usable row.
    """
    rows = list(_rows(path))
    present = {name for row in rows if row for name in row}  # a JSONL's rows may differ
    if not present:
        raise DataError(f"{path} 里没有任何一行数据")
    columns = _resolve(mapping, present, path)
    if columns["time"] == "ts_utc":
        zone = parse_zone("UTC")
    skipped: Counter[str] = Counter()
    events: dict[str, Event] = {}
    for row in rows:
        if row is None:
            skipped["malformed row of the news file"] += 1
            continue
        event = _event(row, columns, zone)
        if isinstance(event, str):
            skipped[event] += 1
        elif event.id in events:
            skipped["duplicate id"] += 1
        else:
            events[event.id] = event
    if not events:
        reasons = "；".join(f"{DROPPED_ZH.get(reason, reason)} {count} 行" for reason, count in skipped.items())
        raise DataError(f"{path} 里没有一行能用：{reasons}")
    return sorted(events.values(), key=lambda event: (event.minute, event.id)), skipped


def _few(names: set[str]) -> str:
    listed = sorted(clean_text(name)[:30] for name in names)
    return "、".join(listed[:12]) + (f" 等 {len(listed)} 列" if len(listed) > 12 else "")


def _resolve(mapping: Mapping[str, str], present: set[str], path: Path) -> dict[str, str]:
    absent = [column for column in mapping.values() if column not in present]
    if absent:
        raise DataError(f"{path} 没有列 {'、'.join(absent)}。有的是：{_few(present)}")
    columns = dict(mapping)
    for name, aliases in _ALIASES.items():
        found = next((alias for alias in aliases if alias in present), None)
        if name not in columns and found is not None:
            columns[name] = found
    missing = [name for name in ("text", "time") if name not in columns]
    if missing:
        raise DataError(
            f"{path} 里认不出{'、'.join({'text': '正文', 'time': '时间'}[name] for name in missing)}列，"
            f"请用 --news-columns {','.join(f'{name}=列名' for name in missing)} 指明。"
            f"有的是：{_few(present)}"
        )
    return columns


def _event(row: Mapping[str, Any], columns: Mapping[str, str], zone: tzinfo) -> Event | str:
    """The event, or the reason why there is none."""

    def value(name: str) -> Any:
        return row.get(columns[name]) if name in columns else None

    text = clean_text(value("text") or "")
    if not text:
        return "empty text"
    try:
        minute = to_minute(value("time"), zone)
    except (TypeError, ValueError, OverflowError):
        return "unreadable time"
    try:
        star = float(value("importance"))
        importance = int(star) if 1 <= star <= 5 else None
    except (TypeError, ValueError, OverflowError):
        importance = None
    name = str(value("indicator") or text[:200])
    _, figures = parse_release(name, value("previous"), value("consensus"), value("actual"), value("unit"))
    # An id of the content, so that the same row is the same event wherever it stands in the file.
    event_id = clean_text(value("id") or "") or f"news:{hashlib.sha256(f'{minute} {text}'.encode()).hexdigest()[:16]}"
    # A flash even where it has figures: its text is somebody's own, to be cleaned and compared like any other.
    return Event(event_id, "flash", minute, text, importance, figures)


# --- formats ----------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """The file's rows; None for a malformed one."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} 超过 2 GB，请拆成几个文件")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"无法读取新闻文件 {path}：{system_reason(error)}") from error
    text = _decoded(raw, path)
    kind = path.suffix.lower()
    if kind == ".csv":
        return _csv_rows(text, path)
    if kind in (".jsonl", ".ndjson"):
        return _jsonl_rows(text)
    raise OptionError(f"--news 只认 .csv 和 .jsonl，不认 {path.name}")


def _decoded(raw: bytes, path: Path) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):  # Excel's "Unicode text"
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            pass
    raise DataError(f"{path} 既不是 UTF-8 也不是 GB18030 编码，请另存为 UTF-8")


def _csv_rows(text: str, path: Path) -> Iterator[dict[str, Any] | None]:
    csv.field_size_limit(_MAX_FIELD)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=False)
    try:
        for row in reader:
            # Too many cells stand under the key None, too few have the value None.
            yield None if None in row or None in row.values() else row
    except csv.Error as error:
        raise DataError(f"{path} 第 {reader.line_num} 行不是完好的 CSV：{error}") from error


def _jsonl_rows(text: str) -> Iterator[dict[str, Any] | None]:
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield row if isinstance(row, dict) else None

"""Exchanges the rationales of a dataset: which rows may get another one, and the files of the result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from fintunnel.chinese import LABELS_ZH
from fintunnel.prompt import render_prompt
from fintunnel.wire import Direction, Impact, NewsRequest

from fintunnel_training.atomic_files import replacing
from fintunnel_training.dataset.card_markdown import card_markdown
from fintunnel_training.errors import DataError, OptionError
from fintunnel_training.instructions import SQLITE_MAGIC, InstructionRow, card_path, read_instructions, split_paths

__all__ = ["Source", "SourceRow", "check_paths", "read_source", "with_rationale", "write_augmented"]

_IMPACTS, _DIRECTIONS = ("|".join(LABELS_ZH[name] for name in get_args(names)) for names in (Impact, Direction))
_PROSE = re.compile(rf"(影响程度：(?:{_IMPACTS})；短线方向：(?:{_DIRECTIONS})。)(.+)", re.DOTALL)
_ANSWER_FIELDS = ["impact", "direction", "signals", "rationale"]
_FIRST_ROWS = 20


@dataclass(frozen=True)
class SourceRow:
    """`line`: as it stands in the file. `request`: what the teacher may be asked about; None where the row's
    rationale cannot be exchanged (reports, market prose, rows made elsewhere). `horizon_min`: its labels' horizon."""

    line: str
    request: NewsRequest | None
    horizon_min: int


@dataclass(frozen=True)
class Source:
    """A dataset as it lies on disk: `rows` and `raw` by split, and its card."""

    rows: dict[str, list[SourceRow]]
    raw: dict[str, bytes]
    card: dict[str, Any]


def check_paths(data: Path, out: Path, cache: Path) -> None:
    """Nothing that is written may lie where something is read, nor on a database.

    Raises:
        OptionError: it would.
    """
    if out.suffix != ".jsonl" or out.is_dir():
        raise OptionError(f"--out 应是一个 .jsonl 文件名，不是 {out}")
    outputs = [*split_paths(out).values(), card_path(out), _card_text_path(out)]
    sources = [*split_paths(data).values(), card_path(data), _card_text_path(data)]
    for path in (*outputs, cache):
        if any(_same_file(path, source) for source in sources):
            raise OptionError(f"{path} 会覆盖原来的指令集，请换一个文件名")
    if any(_same_file(cache, path) for path in outputs):
        raise OptionError(f"--cache 与输出文件 {cache} 重名，请换一个文件名")
    for path in outputs:
        if path.exists() and (not path.is_file() or _is_database(path)):
            raise OptionError(f"{path} 已存在，而且不是指令集，请换一个 --out")


def read_source(data: Path) -> Source:
    """Read the three splits and the card of a built dataset.

    Raises:
        DataError: a file is missing, damaged, not made by `dataset build`, or not the one that the card speaks of.
    """
    rows, raw = {}, {}
    for split, path in split_paths(data).items():
        if not path.is_file():
            raise DataError(f"找不到 {path}。augment 需要 fintunnel dataset build 写出的全部文件。")
        raw[split] = path.read_bytes()
        _check_origin(path, raw[split])
        # A split is allowed to be empty, a file to read is not.
        parsed = read_instructions(path).rows if raw[split].strip() else []
        lines = [line for line in raw[split].decode("utf-8-sig").split("\n") if line.strip()]
        rows[split] = [SourceRow(line, _askable(row), row.horizon_min) for line, row in zip(lines, parsed, strict=True)]
    card = _read_card(card_path(data))
    known = set(card["files_sha256"].values())
    for split, path in split_paths(data).items():
        if hashlib.sha256(raw[split]).hexdigest() not in known:
            raise DataError(
                f"{path} 与数据卡 {card_path(data)} 不符（内容已改动）。请重新运行 fintunnel dataset build。"
            )
    return Source(rows, raw, card)


def _check_origin(path: Path, raw: bytes) -> None:
    """Told before anything is parsed: of a file made elsewhere, its first damaged line is not what is wrong."""
    lines = [line for line in raw.split(b"\n", _FIRST_ROWS)[:_FIRST_ROWS] if line.strip()]
    if lines and not any(map(_is_ours, lines)):
        raise DataError(
            f"{path} 不是 fintunnel dataset build 写出的指令集（前 {len(lines)} 行都没有它的 meta）。"
            "augment 只改写它写出的行。"
        )


def _is_ours(line: bytes) -> bool:
    try:
        meta = json.loads(line.decode("utf-8-sig"))["meta"]
        return "request" in meta and "prompt_version" in meta
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _askable(row: InstructionRow) -> NewsRequest | None:
    if not isinstance(row.request, NewsRequest) or _halves(row.output) is None:
        return None
    # What the row trains on and what the teacher would see must be the same.
    return row.request if render_prompt(row.request, row.style, row.horizon_min).input == row.input else None


def with_rationale(line: str, rationale: str, by: str) -> str:
    """The row with another rationale; its labels, prompt and everything else stay.

    Args:
        line: a row whose `SourceRow.request` is not None.
        by: who wrote it, for `meta.rationale_by`.
    """
    row = json.loads(line)
    halves = _halves(row["output"])
    if halves is None:
        raise ValueError("the row has no rationale to exchange")
    labels, _ = halves
    if isinstance(labels, str):
        row["output"] = labels + rationale
    else:
        row["output"] = json.dumps(labels | {"rationale": rationale}, ensure_ascii=False, separators=(",", ":"))
    row["meta"]["rationale_by"] = by
    return json.dumps(row, ensure_ascii=False)


def _halves(output: str) -> tuple[str | dict[str, Any], str] | None:
    """An answer's labels and its rationale; None where they cannot be told apart."""
    prose = _PROSE.fullmatch(output)
    if prose:
        return prose[1], prose[2]
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or list(answer) != _ANSWER_FIELDS:
        return None
    return {name: value for name, value in answer.items() if name != "rationale"}, str(answer["rationale"])


def write_augmented(
    source: Source, out: Path, rationales: Mapping[str, Sequence[str | None]], by: str, teacher: dict[str, Any]
) -> list[Path]:
    """Write the splits and the card under `out`; every file is complete under its own name or not there.

    Args:
        rationales: by split, one for each of the source's rows, None where it keeps its own; splits that are not
            named are carried byte for byte.
        teacher: the card's new section (see `augment_command`); its `summary` stands in the readable card.

    Returns:
        the paths written.
    """
    contents: dict[Path, bytes] = {}
    for split, path in split_paths(out).items():
        contents[path] = source.raw[split]
        if any(rationales.get(split, ())):
            rows = zip(source.rows[split], rationales[split], strict=True)
            lines = [with_rationale(row.line, text, by) if text else row.line for row, text in rows]
            contents[path] = "".join(f"{line}\n" for line in lines).encode()
    hashes = {path.name: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    card = source.card | {"files_sha256": hashes, "teacher": teacher}
    try:
        contents[card_path(out)] = (json.dumps(card, ensure_ascii=False, indent=2) + "\n").encode()
        contents[_card_text_path(out)] = card_markdown(card).encode()
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"数据卡缺少 {error}。请重新运行 fintunnel dataset build。") from error
    with replacing(list(contents)) as partial:
        for path, content in contents.items():
            partial[path].write_bytes(content)
    return list(contents)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card["files_sha256"], dict):
            raise TypeError("files_sha256")
    except FileNotFoundError:
        raise DataError(f"找不到数据卡 {path}。augment 需要 fintunnel dataset build 写出的全部文件。") from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"数据卡 {path} 损坏：{error}。请重新运行 fintunnel dataset build。") from error
    return dict(card)


def _card_text_path(path: Path) -> Path:
    return path.with_suffix(".card.md")


def _same_file(one: Path, other: Path) -> bool:
    """Also through links, and where the file system ignores case."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False

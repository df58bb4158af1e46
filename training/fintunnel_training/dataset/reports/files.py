"""Reads the user's own reports (PDF or text) into passages. A file that cannot be read is named and counted; it
never stops the others."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fintunnel.wire import Passage

from fintunnel_training.errors import DataError, OptionError

__all__ = ["SKIPPED_ZH", "ReportLibrary", "cut_place", "read_reports"]

_MAX_PAGES = 2000
# Why a file, or a part of it, gave no passage.
SKIPPED_ZH = {
    "empty": "空文件",
    "scanned": "PDF 里没有文字（扫描件，请先做文字识别）",
    "encrypted": "PDF 有密码",
    "damaged": "PDF 已损坏或无法解析",
    "damaged page": "PDF 的这一页无法解析",
    "too many pages": f"PDF 只读了前 {_MAX_PAGES} 页",
    "not text": "不是 UTF-8、UTF-16 或 GB18030 文本",
    "too large": "文件超过 50 MB",
    "unreadable": "无法读取（权限或磁盘错误）",
}

_TEXT_SUFFIXES = (".txt", ".md")
_SUFFIXES = (".pdf", *_TEXT_SUFFIXES)
_MAX_BYTES = 50_000_000
_MAX_PASSAGE = 600  # characters
_MIN_PASSAGE = 8  # less than this says nothing: a page number, a heading
_MAX_SOURCE = 200  # what the wire allows

_CJK = r"[\u3400-\u9fff\uf900-\ufaff\u3000-\u303f\uff00-\uffef]"
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\xad\u200b-\u200f\u2028-\u202e\ufeff\ufffd\ud800-\udfff]")
_PAGE_NUMBER = re.compile(r"[-—\s]*(?:第\s*)?\d{1,4}(?:\s*/\s*\d{1,4})?(?:\s*页)?[-—\s]*")
_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?])(?=\s)|\n")
_CLAUSE_END = re.compile(r"[，、；]|,(?!\d)| (?=[^\d\s.%(（亿万百千元-])")
_IN_NUMBER = re.compile(r"[\d.,，亿万百千][\d.,，%％亿万百千元]")
_WRAPPED_SHARE = 0.75  # a line about as long as the page's longest was broken for want of room


@dataclass(frozen=True)
class ReportLibrary:
    """`names`: the file of each passage, by its path below the folder; `skipped`: reason (a key of `SKIPPED_ZH`) → the
    files, or the pages of a file, that gave none."""

    passages: tuple[Passage, ...]
    names: tuple[str, ...]
    skipped: dict[str, list[str]] = field(default_factory=dict)

    @property
    def files(self) -> int:
        """How many files gave passages."""
        return len(set(self.names))

    @property
    def skipped_counts(self) -> Counter[str]:
        return Counter({reason: len(names) for reason, names in self.skipped.items()})


class _Skip(Exception):
    """Raised with a key of `SKIPPED_ZH`."""


def read_reports(folder: Path) -> ReportLibrary:
    """Read every *.pdf, *.txt and *.md below `folder` in the order of their paths. Passages have at most 600
    characters, end at sentences' ends where they can, and carry file name and, from PDFs, page number.

    Raises:
        DataError: `folder` is no folder, or nothing in it can be used.
    """
    if not os.path.isdir(folder):
        problem = "不是文件夹" if os.path.exists(folder) else "不存在"
        raise OptionError(f"--reports {folder}：{problem}。请给出放有 PDF、TXT 或 MD 报告的文件夹。")
    skipped: dict[str, list[str]] = {}
    passages: list[Passage] = []
    names: list[str] = []
    for path in _report_paths(folder, skipped):
        # A name may hold bytes that are no characters; it has to be printable.
        name = path.relative_to(folder).as_posix().encode(errors="replace").decode()
        try:
            found = list(_read_file(path, name, skipped))
        except _Skip as skip:
            skipped.setdefault(str(skip), []).append(name)
            continue
        passages += found
        names += [name] * len(found)
    if not passages:
        reasons = "；".join(f"{SKIPPED_ZH[reason]}：{_few(names)}" for reason, names in skipped.items())
        raise DataError(f"--reports {folder} 里没有可用的报告（PDF、TXT、MD）。{reasons or '文件夹里没有这类文件'}。")
    return ReportLibrary(tuple(passages), tuple(names), skipped)


def _few(names: list[str]) -> str:
    return "、".join(names[:3]) + (f" 等 {len(names)} 个" if len(names) > 3 else "")


def _report_paths(folder: Path, skipped: dict[str, list[str]]) -> list[Path]:
    def unreadable(error: OSError) -> None:
        where = Path(error.filename or folder)
        skipped.setdefault("unreadable", []).append(os.path.relpath(where, folder))

    found = []
    for root, _, names in os.walk(folder, onerror=unreadable):
        # Names with a dot or "~$" in front are what systems and editors leave beside the real files.
        found += [
            Path(root, name) for name in names if name.lower().endswith(_SUFFIXES) and not name.startswith((".", "~$"))
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _read_file(path: Path, name: str, skipped: dict[str, list[str]]) -> Iterator[Passage]:
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise _Skip("unreadable")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise _Skip("too large")
        data = path.read_bytes()
    except OSError as error:
        raise _Skip("unreadable") from error
    if not data.strip():
        raise _Skip("empty")
    source = _CONTROL.sub("", path.stem).strip()[:_MAX_SOURCE] or "report"
    found = False
    if path.suffix.lower() in _TEXT_SUFFIXES:
        pages: list[tuple[int | None, str]] = [(None, _decode(data))]
    else:
        pages = list(_pdf_pages(data, name, skipped))
    for page, text in pages:
        for piece in _pieces(_mend(text)):
            found = True
            yield Passage(text=piece, source=source, page=page)
    if not found:
        raise _Skip("empty" if path.suffix.lower() in _TEXT_SUFFIXES else "scanned")


def _decode(data: bytes) -> str:
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        # GB18030 decodes almost anything; text has no zero bytes.
        if "\0" not in text:
            return text
    raise _Skip("not text")


# --- PDF ----------------------------------------------------------------------------------------------


def _pdf_pages(data: bytes, name: str, skipped: dict[str, list[str]]) -> Iterator[tuple[int, str]]:
    """(page number from 1, text). A PDF comes from anywhere and may make pypdf raise anything."""
    import io

    from pypdf import PdfReader

    with _quiet():
        try:
            reader = PdfReader(io.BytesIO(data))
            if reader.is_encrypted and not reader.decrypt(""):
                raise _Skip("encrypted")
            count = len(reader.pages)
        except _Skip:
            raise
        except Exception as error:
            # An AES-encrypted file needs the package cryptography even for an empty password.
            encrypted = type(error).__name__ in ("DependencyError", "FileNotDecryptedError", "WrongPasswordError")
            raise _Skip("encrypted" if encrypted else "damaged") from error
        if count > _MAX_PAGES:
            skipped.setdefault("too many pages", []).append(name)
        damaged = []
        for index in range(min(count, _MAX_PAGES)):
            try:
                text = reader.pages[index].extract_text()
            except Exception:
                damaged.append(f"{name} 第 {index + 1} 页")
                continue
            yield index + 1, text
    if len(damaged) == count:
        raise _Skip("damaged")
    if damaged:
        skipped.setdefault("damaged page", []).extend(damaged)


@contextmanager
def _quiet() -> Iterator[None]:
    """pypdf logs what it mends on the way; none of it is for the user."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# --- text ---------------------------------------------------------------------------------------------


def _mend(text: str) -> str:
    """Join the lines that were broken for want of room, and drop spaces inside Chinese words."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    for end in (-1, 0):
        if len(lines) > 1 and _PAGE_NUMBER.fullmatch(lines[end]):
            del lines[end]
    longest = max(map(len, lines), default=0)
    mended = ""
    wrapped = False
    for line in lines:
        joint = "\n" if mended else ""
        if wrapped:
            joint = "" if re.search(f"{_CJK}$", mended) else " "
        mended += joint + line
        wrapped = len(line) >= _WRAPPED_SHARE * longest and not re.search(r"[。！？；.!?;：:]$", line)
    mended = re.sub(f"(?<={_CJK}) (?={_CJK})", "", mended)
    return re.sub(r"[^\S\n]+", " ", mended)


def _pieces(text: str) -> Iterator[str]:
    """Runs of whole sentences of at most `_MAX_PASSAGE` characters."""
    piece = ""
    for sentence in _SENTENCE_END.split(text):
        for part in _short_parts(sentence.strip()):
            joint = " " if piece and not re.search("[。！？；]$", piece) else ""
            if piece and len(piece) + len(joint) + len(part) > _MAX_PASSAGE:
                yield from _worthwhile(piece)
                piece, joint = "", ""
            piece += joint + part
    yield from _worthwhile(piece)


def _short_parts(sentence: str) -> Iterator[str]:
    while len(sentence) > _MAX_PASSAGE:
        cut = cut_place(sentence, _MAX_PASSAGE)
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    if sentence:
        yield sentence


def cut_place(text: str, limit: int) -> int:
    """Where to cut `text` to at most `limit` characters: after a mark or before a table's next row where there is
    one, never inside a number or between it and its unit."""
    ends = [match.end() for match in _CLAUSE_END.finditer(text[: limit + 1]) if match.end() <= limit]
    if ends:
        return ends[-1]
    cut = limit
    while cut > 1 and _IN_NUMBER.fullmatch(text[cut - 1 : cut + 1]):
        cut -= 1
    return cut if cut > 1 else limit


def _worthwhile(piece: str) -> Iterator[str]:
    if len(re.findall(r"\w", piece)) >= _MIN_PASSAGE:
        yield piece

"""Report rows: questions over simulated figures, and over the user's own reports where there are some."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from fintunnel_training.dataset.reports.file_figures import FigureKey, find_figures
from fintunnel_training.dataset.reports.file_questions import find_asks, make_file_reports
from fintunnel_training.dataset.reports.files import ReportLibrary
from fintunnel_training.dataset.reports.questions import KINDS, make_report
from fintunnel_training.dataset.rows import Row, report_row

__all__ = ["LibraryPart", "file_row_counts", "library_summary", "report_rows", "split_library"]

_SHARE_FROM_FILES = 0.5
# About 70 / 15 / 15 %, training first: of one or two passages no other split gets any.
_TURNS = ("train", "train", "val", "test", "train", "train", "train")


class LibraryPart(NamedTuple):
    """What one split may ask: `passages` (indices into the library's) about `figures`."""

    passages: list[int]
    figures: set[FigureKey]


def report_rows(count: int, split: str, seed: int, library: ReportLibrary | None) -> list[Row]:
    """`count` rows, up to half of them from files: as many as there are different questions. The simulated ones go
    through the kinds of question in turn."""
    rng = random.Random(f"{seed}/{split}/reports")
    rows = []
    if library is not None:
        parts = split_library(library)
        own, figures = parts[split]
        # Training never sees a passage of the other splits; these may show its passages beside their own.
        spare = parts["train"].passages if split != "train" else []
        limit = round(count * _SHARE_FROM_FILES)
        examples = make_file_reports(rng, library, own, spare, figures, limit)
        rows = [report_row(example, split, "files") for example in examples]
    simulated = islice(cycle(KINDS), count - len(rows))
    return rows + [report_row(make_report(rng, kind), split, "simulated") for kind in simulated]


def split_library(library: ReportLibrary) -> dict[str, LibraryPart]:
    """Passages in the order of their hashes dealt to train, val and test, those that have something to ask first.
    A figure that several passages state is asked about in the first one's split only."""
    parts = {split: LibraryPart([], set()) for split in ("train", "val", "test")}
    owner: dict[FigureKey, str] = {}
    order = sorted(range(len(library.passages)), key=lambda index: (_hash(library.passages[index].text), index))
    turns, turns_without = cycle(_TURNS), cycle(_TURNS)
    split_of_text: dict[str, str] = {}
    for index in order:
        text, source = library.passages[index].text, library.passages[index].source
        figures = {figure.key for ask in find_asks(text, source) for figure in ask.used}
        fresh = figures - owner.keys()
        if text in split_of_text:
            split = split_of_text[text]
        elif not figures:
            split = next(turns_without)
        else:
            # With nothing new to ask it goes where its figures are.
            split = next(turns) if fresh else Counter(owner[figure] for figure in sorted(figures)).most_common(1)[0][0]
        split_of_text[text] = split
        parts[split].passages.append(index)
        parts[split].figures.update(fresh)
        owner.update(dict.fromkeys(fresh, split))
    return parts


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def library_summary(library: ReportLibrary) -> list[str]:
    """One Chinese line a file, in the files' order: how many passages and usable figures it gave."""
    passages: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    for name, passage in zip(library.names, library.passages, strict=True):
        passages[name] += 1
        figures[name] += len(find_figures(passage.text, passage.source))
    return [f"{name}：{count} 段，{figures[name]} 个数字" for name, count in passages.items()]


def file_row_counts(rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
    """Of each split's rows, how many ask about the user's files."""
    return {split: sum(row["meta"].get("origin") == "files" for row in part) for split, part in rows.items()}

"""Report rows: questions over simulated figures, and over the user's own reports where there are some."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from itertools import cycle, islice

from fintunnel_training.dataset.reports.file_questions import make_file_report
from fintunnel_training.dataset.reports.files import ReportLibrary
from fintunnel_training.dataset.reports.questions import KINDS, make_report
from fintunnel_training.dataset.rows import Row, report_row

__all__ = ["report_rows"]

_SHARE_FROM_FILES = 0.5


def report_rows(count: int, split: str, seed: int, library: ReportLibrary | None) -> list[Row]:
    """`count` rows, up to half of them from files: as many as there are different questions. The simulated ones go
    through the kinds of question in turn."""
    rng = random.Random(f"{seed}/{split}/reports")
    rows = []
    if library is not None:
        ours = _part(library, split)
        asked: set[str] = set()
        for _ in range(round(count * _SHARE_FROM_FILES) if ours.passages else 0):
            example = make_file_report(rng, ours)
            if example is not None and (question := example.request.model_dump_json()) not in asked:
                asked.add(question)
                rows.append(report_row(example, split, "files"))
    simulated = islice(cycle(KINDS), count - len(rows))
    return rows + [report_row(make_report(rng, kind), split, "simulated") for kind in simulated]


def _part(library: ReportLibrary, split: str) -> ReportLibrary:
    """The passages of one split, 70 / 15 / 15 % by hash of their text: a passage is asked about in one split only."""
    passages = tuple(passage for passage in library.passages if _split_of(passage.text) == split)
    return replace(library, passages=passages)


def _split_of(text: str) -> str:
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32
    return "train" if place < 0.7 else "val" if place < 0.85 else "test"

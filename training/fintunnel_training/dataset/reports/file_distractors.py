"""Passages that stand beside the one that answers: excerpts of other pages and files."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from fintunnel.wire import Passage

from fintunnel_training.dataset.reports.file_figures import (
    Ask,
    mentioned,
)
from fintunnel_training.dataset.reports.files import ReportLibrary, cut_place

__all__ = ["other_passages", "shorten_passage"]

_MAX_OTHER = 90  # … of one that does not
_MIN_OTHER = 12
_TRIES = 24  # passages looked at for distractors


def other_passages(
    rng: random.Random, library: ReportLibrary, index: int, ask: Ask, own: Sequence[int], spare: Sequence[int]
) -> list[Passage]:
    """One or two other passages, shortened: of the same report none that names what is asked, of others none that
    states the same figure. Where no other passage will do, the rest of the same one may."""
    passage = library.passages[index]
    named = {ask.item, *(figure.name for figure in ask.used)}
    written = {figure.written for figure in ask.used}
    rest = [passage.text[: ask.start], passage.text[ask.end :]]
    pools: list[list[Passage]] = [
        [library.passages[other] for other in rng.sample(list(pool), min(_TRIES, len(pool))) if other != index]
        for pool in (own, spare)
    ]
    pools.append([passage.model_copy(update={"text": text}) for text in rest if len(text.strip()) >= _MIN_OTHER])
    wanted, others = rng.choice((1, 2)), list[Passage]()
    for pool in pools:
        for other in pool:
            shortened = shorten_passage(rng, other)
            if len(others) == wanted or any(figure in shortened.text for figure in written):
                continue
            if other.source != passage.source or not named & mentioned(shortened.text):
                others.append(shortened)
        if others:
            break
    return others


def shorten_passage(rng: random.Random, passage: Passage) -> Passage:
    """Some whole sentences of it, or of a long one the part before a mark or a table's row."""
    sentences = [part for part in re.split(r"(?<=[。！？；])", passage.text) if part.strip()]
    text = ""
    for sentence in sentences[rng.randrange(len(sentences)) :] if len(passage.text) > _MAX_OTHER else sentences:
        if len(text) + len(sentence) > _MAX_OTHER and len(text.strip()) >= _MIN_OTHER:
            break
        text += sentence
    text = text.strip()
    if len(text) > _MAX_OTHER:
        text = text[: cut_place(text, _MAX_OTHER)].strip(" ，、；,") + "…"
    return passage.model_copy(update={"text": text})

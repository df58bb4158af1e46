"""Figures about an instruction file and the splits beside it: counts, shares, lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fintunnel.prompt import Prompt
from fintunnel.wire import DIRECTIONS, IMPACTS, SIGNALS
from tqdm import tqdm

from fintunnel_training.base import EMBEDDED, prompt_text
from fintunnel_training.dataset.looking.looked import (
    OTHER,
    Looked,
    Row,
    event_key,
    labels_of,
    named,
    published_at,
    request_of,
)
from fintunnel_training.dataset.tokens import open_tokenizer
from fintunnel_training.errors import BaseModelError, OptionError

__all__ = [
    "MAX_LENGTH",
    "Length",
    "character_lengths",
    "describe",
    "load_counter",
    "token_lengths",
    "unnatural_training",
]

MAX_LENGTH = 512  # what `fintunnel train` allows a row by default, in tokens
_MANY_KINDS = 8
_BATCH = 512
_MANY_ROWS = 5000  # more than that take seconds


@dataclass(frozen=True, slots=True)
class Length:
    """Of one row, in characters or tokens. `whole` is the conversation with the end token."""

    kind: str
    prompt: int
    answer: int

    @property
    def whole(self) -> int:
        return self.prompt + self.answer


def describe(looked: Looked) -> dict[str, Any]:
    """Counts per split, for the tables and `--json`; kinds beyond the eight commonest are counted as `other`."""
    every = looked.all_rows()
    kinds = {kind for kind, _ in Counter(named(row, "kind") for row in every).most_common(_MANY_KINDS)}
    styles = {style for style, _ in Counter(named(row, "style") for row in every).most_common(_MANY_KINDS)}
    mix: dict[str, dict[str, dict[str, int]]] = {}
    months: dict[str, dict[str, int]] = {}
    for split, rows in looked.rows.items():
        for row in rows:
            kind, style = named(row, "kind"), named(row, "style")
            by_style = mix.setdefault(kind if kind in kinds else OTHER, {})
            counts = by_style.setdefault(style if style in styles else OTHER, dict.fromkeys(looked.rows, 0))
            counts[split] += 1
            if at := published_at(row):
                months.setdefault(f"{at:%Y-%m}", dict.fromkeys(looked.rows, 0))[split] += 1
    return {
        "files": {split: str(path) for split, path in looked.paths.items()},
        "rows": {split: len(rows) for split, rows in looked.rows.items()},
        "bad_lines": looked.bad_lines,
        "events": {split: len({event_key(row) for row in rows} - {None}) for split, rows in looked.rows.items()},
        "unnatural_training": unnatural_training(looked),
        "mix": {kind: dict(sorted(mix[kind].items())) for kind in sorted(mix)},
        "labels": {split: _label_counts(rows) for split, rows in looked.rows.items()},
        "months": dict(sorted(months.items())),
    }


def _label_counts(rows: Iterable[Row]) -> dict[str, Any]:
    """`balance`: rows of the commonest class for each row of the rarest; null where a class has none."""
    counts: dict[str, Counter[str]] = {"impact": Counter(), "direction": Counter(), "signals": Counter()}
    labelled = with_signals = with_context = without_context = 0
    for row in rows:
        if request_of(row).get("task") == "news":
            if request_of(row).get("context"):
                with_context += 1
            else:
                without_context += 1
        if not (labels := labels_of(row)):
            continue
        labelled += 1
        for field in ("impact", "direction"):
            counts[field][str(labels.get(field))] += 1
        if isinstance(signals := labels.get("signals"), dict):
            with_signals += 1
            counts["signals"].update(name for name in SIGNALS if signals.get(name) is True)
    table: dict[str, Any] = {
        "rows": labelled,
        "rows_with_signals": with_signals,
        "with_context": with_context,
        "without_context": without_context,
        "balance": {},
    }
    for field, names in (("impact", IMPACTS), ("direction", DIRECTIONS), ("signals", SIGNALS)):
        table[field] = {name: counts[field][name] for name in names}
        if field != "signals":
            rarest, commonest = min(table[field].values()), max(table[field].values())
            table["balance"][field] = round(commonest / rarest, 2) if rarest else None
    return table


def unnatural_training(looked: Looked) -> Literal["balanced", "sampled"] | None:
    """Whether the training rows are not the natural mix: classes balanced, or events drawn or repeated."""
    options = looked.card.get("options")
    for place in (looked.card, options if isinstance(options, dict) else {}):
        if place.get("balance") not in (None, "none"):
            return "balanced"
    keys = [key for row in looked.rows.get("train", []) if (key := event_key(row)) is not None]
    events = looked.card.get("events")
    there = events.get("train") if isinstance(events, dict) else None
    drawn = isinstance(there, int) and 0 < len(set(keys)) < there
    return "sampled" if drawn or len(set(keys)) < len(keys) else None


# --- lengths ------------------------------------------------------------------------------------------


def character_lengths(rows: Iterable[Row]) -> list[Length]:
    return [
        Length(named(row, "kind"), len(row["instruction"]) + 1 + len(row["input"]), len(row["output"])) for row in rows
    ]


def token_lengths(rows: Sequence[Row], tokenizer: Any) -> list[Length]:
    """As the rows are trained on: chat template and end token included.

    Raises:
        PromptRejectedError: the base's chat template does not allow such a conversation.
    """
    lengths = []
    quiet = None if len(rows) >= _MANY_ROWS else True  # None: quiet where nobody looks on
    for start in tqdm(range(0, len(rows), _BATCH), desc="数 token", unit="批", leave=False, disable=quiet):
        batch = rows[start : start + _BATCH]
        messages = [Prompt(row["instruction"], row["input"]).messages() for row in batch]
        prompts = [prompt_text(tokenizer, message) for message in messages]
        wholes = [prompt_text(tokenizer, message, row["output"]) for message, row in zip(messages, batch, strict=True)]
        ids = tokenizer([*prompts, *wholes], add_special_tokens=False).input_ids
        for row, prompt, whole in zip(batch, ids, ids[len(batch) :], strict=False):
            lengths.append(Length(named(row, "kind"), len(prompt), len(whole) + 1 - len(prompt)))
    return lengths


def load_counter(base: str | None) -> tuple[Any | None, list[str]]:
    """The tokenizer that counts, and what to tell the user. None given: the embedded base's, which needs no
    download, or nothing where that is not installed.

    Raises:
        OptionError, BaseModelError: the base that was asked for cannot count.
    """
    try:
        tokenizer, _ = open_tokenizer(base or EMBEDDED)
    except (OptionError, BaseModelError):
        if base is not None:
            raise
    else:
        using = [] if base is not None else ["token 数按内置基座的分词器计算；用 --base 可换成要训练的基座。"]
        return tokenizer, using
    return None, ["没有可用的分词器，长度按字计；要数 token，请用 --base 指定基座。"]

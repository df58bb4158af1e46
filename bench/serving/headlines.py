"""The news that every server is asked about, in the same order, no prompt ever the same as an earlier one."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fintunnel.prompt import BEIJING, CountTokens, render_prompt
from fintunnel.wire import Figures, NewsRequest
from fintunnel_training.dataset.sources.sample_database import build_sample_database

__all__ = ["BESIDE_THE_CHECKOUT", "Headlines", "read_headlines"]

BESIDE_THE_CHECKOUT = Path(__file__).parents[3] / "shared" / "data" / "finance_analysis.db"
_MONDAY = datetime(2025, 9, 1, tzinfo=BEIJING)
_WEEK_MIN = 7 * 24 * 60
_PER_CELL = 1500  # prompts of a cell that none of 32 others has


@dataclass(frozen=True)
class Headlines:
    """`prompt_tokens` of each with the base's tokenizer; `source` is a word for the table's head."""

    requests: list[NewsRequest]
    prompt_tokens: list[int]
    source: str

    def of_cell(self, cell: int) -> Callable[[int], NewsRequest]:
        """The n-th request of a cell. Its minute and importance, which stand before its text, are its own: a server
        that keeps prompts finds the fixed instruction there, as it would in use, and no headline that it has met."""

        def request(number: int) -> NewsRequest:
            own = cell * _PER_CELL + number
            return self.requests[number % len(self.requests)].model_copy(
                update={
                    "published_at": _MONDAY + timedelta(minutes=own % _WEEK_MIN),
                    "importance": 1 + own // _WEEK_MIN % 5,
                }
            )

        return request


def read_headlines(
    source: Path | None, count: int, count_tokens: CountTokens, *, most_tokens: int, seed: int = 0
) -> Headlines:
    """`count` single pieces of news whose prompts have at most `most_tokens`, without the market around them: from a
    text file, one a line, or from a database, from the sample database where `source` is None. Of a database, flashes
    if there are enough of them, else calendar entries too.

    Raises:
        SystemExit: there are fewer.
    """
    if source is not None and source.suffix == ".txt":
        requests = [_request(line) for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
        random.Random(seed).shuffle(requests)
        name = "text file"
    else:
        requests, name = _from_database(source, count, seed), "database" if source else "sample database"
    kept: list[NewsRequest] = []
    lengths: list[int] = []
    for request in requests:
        tokens = count_tokens(render_prompt(request).messages())
        if tokens <= most_tokens:
            kept.append(request)
            lengths.append(tokens)
        if len(kept) == count:
            return Headlines(kept, lengths, name)
    raise SystemExit(f"only {len(kept)} headlines of at most {most_tokens} tokens in the {name}")


def _from_database(database: Path | None, count: int, seed: int) -> list[NewsRequest]:
    # Only here: a GPU's machine need not have what reads databases.
    from fintunnel_training.dataset.cleaning import reason_to_drop
    from fintunnel_training.dataset.sources.database import read_database

    with tempfile.TemporaryDirectory(prefix="fintunnel-bench-") as folder:
        if database is None:
            database = Path(folder) / "sample.db"
            build_sample_database(database)
        events = [event for event in read_database(database).events if reason_to_drop(event) is None]
    random.Random(seed).shuffle(events)
    flashes = [event for event in events if event.kind == "flash"]
    return [_request(event.text, event.figures) for event in (flashes if len(flashes) >= 2 * count else events)]


def _request(text: str, figures: Figures | None = None) -> NewsRequest:
    # With a time, as the requests that are asked have one: the length is that of the prompt as asked.
    return NewsRequest(text=text, published_at=_MONDAY, importance=1, figures=figures)

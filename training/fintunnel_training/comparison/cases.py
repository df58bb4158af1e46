"""What every system is asked: a test split, a JSONL of one's own cases, or headlines from the command line."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fintunnel.broken_rules import rule_in_chinese
from fintunnel.prompt import PROMPT_VERSION
from fintunnel.wire import HORIZON_MIN, Direction, Impact, NewsRequest, ReportRequest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fintunnel_training.dataset.sources.records import BEIJING
from fintunnel_training.errors import DataError
from fintunnel_training.instructions import card_path, parse_object, parse_row, read_objects, split_paths

__all__ = ["Case", "CaseFile", "cases_of", "draw", "read_cases", "cases_path", "training_path"]

_SUFFIX = ".test.jsonl"
_T = TypeVar("_T")
_ANSWERS = ("impact", "direction", "answer", "citations")


@dataclass(frozen=True)
class Case:
    """A question, and what is known of its right answer. `at`: with a zone. `answer`, `citations`: a report question's.
    `horizon_min`: the minutes that the labels speak of."""

    request: NewsRequest | ReportRequest
    at: datetime | None = None
    impact: Impact | None = None
    direction: Direction | None = None
    answer: str | None = None
    citations: tuple[int, ...] | None = None
    horizon_min: int = HORIZON_MIN

    @cached_property
    def key(self) -> str:
        """The same question has the same key on every machine, whoever is asked and for how much text."""
        asked = self.request.model_dump(mode="json", exclude={"explain", "adapter", "max_tokens"})
        text = json.dumps([PROMPT_VERSION, asked], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def beijing_day(self) -> int | None:
        return None if self.at is None else self.at.astimezone(BEIJING).toordinal()


@dataclass(frozen=True)
class CaseFile:
    """`repeated`: rows left out because an earlier one asks the same."""

    path: Path | None
    sha256: str | None
    cases: list[Case]
    repeated: int = 0
    card: dict[str, Any] | None = None


class _OwnAnswers(BaseModel):
    """What a case of one's own may say beside its request."""

    model_config = ConfigDict(extra="forbid")

    impact: Impact | None = None
    direction: Direction | None = None
    answer: str | None = Field(None, min_length=1)
    citations: list[int] | None = None


_NEWS, _REPORT = TypeAdapter(NewsRequest), TypeAdapter(ReportRequest)


def cases_path(data: Path) -> Path:
    """`X.jsonl` → `X.test.jsonl` where that is beside it; any other file is itself."""
    beside = split_paths(data)["test"]
    return beside if not data.name.endswith(_SUFFIX) and beside.is_file() else data


def training_path(data: Path) -> Path | None:
    """The training file beside a test split; None where there is none."""
    path = cases_path(data)
    if not path.name.endswith(_SUFFIX):
        return None
    training = path.with_name(path.name.removesuffix(_SUFFIX) + ".jsonl")
    return training if training.is_file() else None


def read_cases(path: Path) -> CaseFile:
    """Read rows of `dataset build`, or cases of one's own: a request's fields, and beside them what is known of the
    answer (`impact`, `direction`; `answer`, `citations`).

    Raises:
        DataError: no such file, a row that is neither (with its number), or one that a model was trained on.
    """
    raw, objects = read_objects(path)
    cases: dict[str, Case] = {}
    for where, row in objects:
        case = _of_dataset(row, where) if "instruction" in row else _own(row, where)
        cases.setdefault(case.key, case)
    if not cases:
        raise DataError(f"{path} 里没有任何一行数据")
    return CaseFile(path, hashlib.sha256(raw).hexdigest(), list(cases.values()), len(objects) - len(cases), _card(path))


def cases_of(headlines: Sequence[str]) -> CaseFile:
    """Headlines without anything else. Raises: DataError: one that is no text."""
    cases = [Case(_validated(_NEWS, {"text": text}, f"--cases 的第 {n} 条")) for n, text in enumerate(headlines, 1)]
    return CaseFile(None, None, list({case.key: case for case in cases}.values()))


def draw(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """`count` of them by the seed, in their order. What is drawn of a case depends on the seed and the case alone, so
    more or fewer cases around it change little."""
    ranked = sorted(cases, key=lambda case: random.Random(f"{seed}/{case.key}").random())
    chosen = {case.key for case in ranked[:count]}
    return [case for case in cases if case.key in chosen]


def _of_dataset(row: dict[str, Any], where: str) -> Case:
    meta = row.get("meta")
    if isinstance(meta, dict) and meta.get("split") == "train":
        raise DataError(
            f"{where}属于训练集：模型学过它的答案，比不出什么。请用 X.test.jsonl，或把它放在 X.jsonl 旁边。"
        )
    instruction = parse_row(row, where)
    request = instruction.request
    if request is None or not isinstance(meta, dict):
        raise DataError(f"{where}没有 meta.request。自己的题目请写成请求的字段：{_OWN_FORM}")
    if isinstance(request, ReportRequest):
        reference = parse_object(instruction.output, f"{where}的 output ")
        citations = reference.get("citations")
        known = _validated(_ANSWERS_OF, {"answer": reference.get("answer"), "citations": citations}, where)
        return Case(request, answer=known.answer, citations=_tuple(known.citations))
    labels = meta.get("labels")
    given = {name: labels.get(name) for name in ("impact", "direction")} if isinstance(labels, dict) else {}
    known = _validated(_ANSWERS_OF, given, where)
    return Case(
        request, _zoned(request.published_at), known.impact, known.direction, None, None, instruction.horizon_min
    )


_OWN_FORM = (
    '{"text": "消息", "published_at": "2025-10-01T20:30:00+08:00", "impact": "high", "direction": "bullish"}'
    ' 或 {"question": "…", "passages": [{"text": "…", "source": "…"}], "answer": "…", "citations": [0]}；答案可以不写'
)
_ANSWERS_OF = TypeAdapter(_OwnAnswers)


def _own(row: dict[str, Any], where: str) -> Case:
    known = _validated(_ANSWERS_OF, {name: row[name] for name in _ANSWERS if name in row}, where)
    fields = {name: value for name, value in row.items() if name not in _ANSWERS}
    if "text" in fields:
        news = _validated(_NEWS, fields, where)
        return Case(news, _zoned(news.published_at), known.impact, known.direction)
    if "question" in fields:
        report = _validated(_REPORT, fields, where)
        return Case(report, answer=known.answer, citations=_tuple(known.citations))
    raise DataError(f"{where}既没有 text，也没有 question。每行应是：{_OWN_FORM}")


def _validated(adapter: TypeAdapter[_T], value: object, where: str) -> _T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}无效：{name} {rule_in_chinese(first)}") from error


def _tuple(citations: list[int] | None) -> tuple[int, ...] | None:
    return None if citations is None else tuple(citations)


def _zoned(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=BEIJING) if at is not None and at.tzinfo is None else at


def _card(path: Path) -> dict[str, Any] | None:
    """The card of the dataset, for the report; one that cannot be read is left out there."""
    file = card_path(path.with_name(path.name.removesuffix(_SUFFIX) + ".jsonl"))
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) else None

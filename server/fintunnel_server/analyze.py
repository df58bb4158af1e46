"""A request becomes a prompt, the prompt a few engine calls, their results an analysis.

The answer's JSON is never generated: its fields are scored, the text between them is fed, and only the
rationale is written by the model. So every answer satisfies the schema, whatever the model or the news says.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import TypedDict, TypeVar

from fintunnel.prompt import Message, fit, render_prompt
from fintunnel.wire import (
    DIRECTIONS,
    HORIZON_MIN,
    IMPACTS,
    SIGNALS,
    Direction,
    Impact,
    ModelInfo,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
    Signal,
    Timing,
    Usage,
)

from fintunnel_server.engine import Engine, Generation, Work

__all__ = ["analyze"]

_STRUCTURE_TOKENS = 64  # room for the answer's JSON around the generated text
_Label = TypeVar("_Label", bound=str)


class _Common(TypedDict):
    """The fields that both kinds of answer carry."""

    id: str
    model: ModelInfo
    usage: Usage
    timing_ms: Timing
    truncated: bool


async def analyze(
    request: NewsRequest | ReportRequest, engine: Engine, *, adapter: str | None, max_prompt_tokens: int
) -> NewsAnalysis | ReportAnswer:
    """Analyse one request with `adapter` (None: the bare base), shortening its texts where they are too long.

    Raises:
        PromptTooLongError: what cannot be shortened is over the budget.
    """
    started = time.monotonic()
    room = engine.info.context_tokens - request.max_tokens - _STRUCTURE_TOKENS
    budget = min(max_prompt_tokens, room)
    if isinstance(request, NewsRequest):
        horizon_min = _horizon(engine, adapter)
        news, truncated = fit(request, budget, engine.count_tokens, horizon_min=horizon_min)
        return await _Conversation(news, engine, adapter, started, truncated).news(news)
    report, truncated = fit(request, budget, engine.count_tokens)
    return await _Conversation(report, engine, adapter, started, truncated).report(report)


def _horizon(engine: Engine, adapter: str | None) -> int:
    """The minutes that the adapter was trained for; the bare base is asked for the usual ones."""
    edges = engine.info.edges if adapter else None
    return edges.horizon_min if edges else HORIZON_MIN


class _Conversation:
    """One answer in the making: `_answer` is its text so far, `_work` what it has cost."""

    def __init__(
        self,
        request: NewsRequest | ReportRequest,
        engine: Engine,
        adapter: str | None,
        started: float,
        truncated: bool,
    ) -> None:
        self._messages: list[Message] = render_prompt(request, horizon_min=_horizon(engine, adapter)).messages()
        self._engine = engine
        self._adapter = adapter
        self._started = started
        self._truncated = truncated
        self._work: list[Work] = []

    async def news(self, request: NewsRequest) -> NewsAnalysis:
        impact_probs, direction_probs, answer = await self._impact_and_direction(request.context is not None)
        signal_probs: dict[Signal, float] | None = None
        if request.context is not None:
            signal_probs, answer = await self._signals(answer)
        rationale = await self._write(answer, request.max_tokens) if request.explain else None
        return NewsAnalysis(
            **self._common(),
            impact=_most_likely(impact_probs),
            impact_probs=impact_probs,
            direction=_most_likely(direction_probs),
            direction_probs=direction_probs,
            signals=None if signal_probs is None else [s for s in SIGNALS if signal_probs[s] > 0.5],
            signal_probs=signal_probs,
            rationale=rationale,
            horizon_min=_horizon(self._engine, self._adapter),
            edges=self._engine.info.edges if self._adapter else None,
        )

    async def _impact_and_direction(
        self, with_context: bool
    ) -> tuple[dict[Impact, float], dict[Direction, float], str]:
        """Impact first; direction as its marginal over the impacts; and the answer with the likeliest of each."""
        answer = '{"impact":"'
        after_impact = '","direction":"'
        after_direction = '","signals":' + ('{"priced_in":' if with_context else 'null,"rationale":"')
        impacts = await self._score(answer, {impact: impact + after_impact for impact in IMPACTS})
        directions = dict.fromkeys(DIRECTIONS, 0.0)
        for impact in IMPACTS:
            given = await self._score(answer + impact + after_impact, {d: d + after_direction for d in DIRECTIONS})
            for direction in DIRECTIONS:
                directions[direction] += impacts[impact] * given[direction]
        # A sum of rounded products may end a hair above 1.
        directions = {direction: min(probability, 1.0) for direction, probability in directions.items()}
        impact_probs = {impact: impacts[impact] for impact in IMPACTS}
        answer += _most_likely(impact_probs) + after_impact + _most_likely(directions) + after_direction
        return impact_probs, directions, answer

    async def _signals(self, answer: str) -> tuple[dict[Signal, float], str]:
        after = {"priced_in": ',"wait_and_see":', "wait_and_see": '},"rationale":"'}
        probabilities: dict[Signal, float] = {}
        for signal in SIGNALS:
            scores = await self._score(answer, {value: value + after[signal] for value in ("true", "false")})
            probabilities[signal] = scores["true"]
            answer += ("true" if scores["true"] > 0.5 else "false") + after[signal]
        return probabilities, answer

    async def report(self, request: ReportRequest) -> ReportAnswer:
        answer, close = '{"citations":[', '],"answer":"'
        citations: list[int] = []
        while True:
            # Ascending order, so a set of passages has one spelling.
            following = range(citations[-1] + 1 if citations else 0, len(request.passages))
            comma = "," if citations else ""
            scores = await self._score(answer, {"": close, **{str(i): f"{comma}{i}" for i in following}})
            choice = max(scores, key=scores.__getitem__)
            if choice == "":
                break
            citations.append(int(choice))
            answer += f"{comma}{choice}"
            if citations[-1] == len(request.passages) - 1:
                break
        text = await self._write(answer + close, request.max_tokens) if request.explain else None
        return ReportAnswer(**self._common(), citations=citations, answer=text)

    async def _score(self, prefix: str, choices: Mapping[str, str]) -> dict[str, float]:
        scores = await self._engine.score(self._messages, prefix, choices, adapter=self._adapter)
        self._work.append(scores.work)
        return scores.probabilities

    async def _write(self, prefix: str, max_tokens: int) -> str:
        generation: Generation = await self._engine.generate(
            self._messages, adapter=self._adapter, prefix=prefix, max_tokens=max_tokens, stop='"'
        )
        self._work.append(generation.work)
        return _unescape(generation.text)

    def _common(self) -> _Common:
        info = self._engine.info
        return {
            "id": f"ana-{uuid.uuid4().hex}",
            "model": ModelInfo(
                backend="finetuned",
                base=info.base,
                adapter=self._adapter,
                prompt_version=info.prompt_version,
            ),
            "usage": Usage(
                prompt_tokens=self._engine.count_tokens(self._messages),
                completion_tokens=sum(work.completion_tokens for work in self._work),
            ),
            "timing_ms": Timing(
                queue=_ms(sum(work.queue_seconds for work in self._work)),
                model=_ms(sum(work.model_seconds for work in self._work)),
                total=_ms(time.monotonic() - self._started),
            ),
            "truncated": self._truncated,
        }


def _most_likely(probabilities: Mapping[_Label, float]) -> _Label:
    return max(probabilities, key=probabilities.__getitem__)


def _unescape(text: str) -> str:
    """What was written inside a JSON string, as text; a broken escape is dropped, not shown."""
    try:
        decoded = json.loads(f'"{text}"', strict=False)
    except ValueError:
        decoded = text.replace("\\", "")
    # A lone surrogate (half of an escaped pair) cannot be sent as UTF-8.
    return " ".join(str(decoded).encode("utf-8", "ignore").decode("utf-8").split())


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)

"""A request becomes a prompt, the prompt a conversation with the engine, its results an analysis.

The answer's JSON is never generated: its fields are scored, the text between them is fed, and only the
rationale is written by the model. So every answer satisfies the schema, whatever the model or the news says.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TypedDict, TypeVar

from fintunnel.hosted_api import STRUCTURE_TOKENS
from fintunnel.prompt import fit, render_prompt
from fintunnel.wire import (
    DIRECTIONS,
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
from fintunnel_training.calibration.calibration_file import Condition, FieldName, apply

from fintunnel_server.engine import Conversation, Engine, Field, Scores
from fintunnel_server.generated_answer import generated_answer

__all__ = ["Analysis", "analyze"]

Analysis = NewsAnalysis | ReportAnswer

_TRUE_FALSE = ("true", "false")
_Label = TypeVar("_Label", bound=str)


class _Common(TypedDict):
    """The fields that both kinds of answer carry."""

    id: str
    model: ModelInfo
    usage: Usage
    timing_ms: Timing
    calibrated: bool
    truncated: bool


async def analyze(
    request: NewsRequest | ReportRequest, engine: Engine, *, adapter: str | None, max_prompt_tokens: int
) -> AsyncGenerator[Analysis | str, None]:
    """Analyse one request with `adapter` (None: the bare base), shortening its texts where they are too long.

    Gives, in this order: the analysis with what is scored (labels, citations) and no text; the text in pieces, where
    one is asked for; the whole analysis.

    Raises:
        PromptTooLongError: what cannot be shortened is over the budget.
    """
    started = time.monotonic()
    horizon_min = engine.info.adapter(adapter).horizon_min
    answer_tokens = request.max_tokens + STRUCTURE_TOKENS
    budget = min(max_prompt_tokens, engine.info.context_tokens - answer_tokens)
    request, truncated = fit(request, budget, engine.count_tokens, horizon_min=horizon_min)
    prompt = render_prompt(request, horizon_min=horizon_min)
    async with engine.open(
        prompt.messages(), adapter=adapter, answer_tokens=answer_tokens, shared=prompt.instruction
    ) as conversation:
        answer = _Answer(engine, conversation, adapter, started, truncated)
        async with aclosing(answer.parts(request)) as parts:
            async for part in parts:
                yield part


class _Answer:
    """One answer in the making."""

    def __init__(
        self, engine: Engine, conversation: Conversation, adapter: str | None, started: float, truncated: bool
    ) -> None:
        self._engine = engine
        self._about = engine.info.adapter(adapter)
        self._conversation = conversation
        self._adapter = adapter
        self._started = started
        self._truncated = truncated
        self._id = f"ana-{uuid.uuid4().hex}"
        self._with_context = False
        self._scored = False  # probabilities were had

    def parts(self, request: NewsRequest | ReportRequest) -> AsyncGenerator[Analysis | str, None]:
        if not self._engine.info.continues_answers:
            return generated_answer(request, self._conversation, about=self._about, common=self._common)
        return self._news(request) if isinstance(request, NewsRequest) else self._report(request)

    async def _news(self, request: NewsRequest) -> AsyncGenerator[Analysis | str, None]:
        self._with_context = request.context is not None
        impact, direction, impact_probs, direction_probs, prefix = await self._impact_and_direction()
        signals: list[Signal] | None = None
        signal_probs: dict[Signal, float] | None = None
        if self._with_context:
            signals, signal_probs, prefix = await self._signals(prefix)

        def analysis(rationale: str | None) -> NewsAnalysis:
            return NewsAnalysis(
                **self._common(),
                impact=impact,
                impact_probs=impact_probs,
                direction=direction,
                direction_probs=direction_probs,
                signals=signals,
                signal_probs=signal_probs,
                rationale=rationale,
                horizon_min=self._about.horizon_min,
                edges=self._about.edges,
            )

        yield analysis(None)
        if request.explain:
            pieces = []
            async for piece in self._write(prefix, request.max_tokens):
                pieces.append(piece)
                yield piece
            yield analysis("".join(pieces))

    async def _impact_and_direction(
        self,
    ) -> tuple[Impact, Direction, dict[Impact, float] | None, dict[Direction, float] | None, str]:
        """Both labels with their probabilities, and the answer that holds them. Direction is its marginal over the
        impacts; everything is scored in one pass."""
        before, between = '{"impact":"', '","direction":"'
        after = '","signals":' + ('{"priced_in":' if self._with_context else 'null,"rationale":"')
        fields = [
            Field(before, {impact: impact + between for impact in IMPACTS}),
            *(Field(before + i + between, {d: d + after for d in DIRECTIONS}) for i in IMPACTS),
        ]
        scores, *given = await self._conversation.score(fields)
        impact_probs: dict[Impact, float] | None = None
        direction_probs: dict[Direction, float] | None = None
        if scores.probabilities is not None and all(each.probabilities is not None for each in given):
            impacts = scores.probabilities
            by_impact = {impact: each.probabilities or {} for impact, each in zip(IMPACTS, given, strict=True)}
            marginal = {d: sum(impacts[i] * by_impact[i][d] for i in IMPACTS) for d in DIRECTIONS}
            self._scored = True
            impact_probs = self._calibrated("impact", {i: impacts[i] for i in IMPACTS})
            direction_probs = self._calibrated("direction", marginal)
            impact, direction = _most_likely(impact_probs), _most_likely(direction_probs)
        else:
            impact = _label(IMPACTS, scores.choice)
            direction = _label(DIRECTIONS, given[IMPACTS.index(impact)].choice)
        return impact, direction, impact_probs, direction_probs, before + impact + between + direction + after

    async def _signals(self, prefix: str) -> tuple[list[Signal], dict[Signal, float] | None, str]:
        """Each signal after the one before it, both in one pass."""
        between, after = ',"wait_and_see":', '},"rationale":"'
        fields = [
            Field(prefix, {value: value + between for value in _TRUE_FALSE}),
            *(
                Field(prefix + first + between, {value: value + after for value in _TRUE_FALSE})
                for first in _TRUE_FALSE
            ),
        ]
        first, *given = await self._conversation.score(fields)
        priced_in, chance = self._truth("priced_in", first)
        wait_and_see, next_chance = self._truth("wait_and_see", given[_TRUE_FALSE.index(priced_in)])
        prefix += priced_in + between + wait_and_see + after
        truths: dict[Signal, str] = {"priced_in": priced_in, "wait_and_see": wait_and_see}
        probabilities: dict[Signal, float] | None = None
        if chance is not None and next_chance is not None:
            probabilities = {"priced_in": chance, "wait_and_see": next_chance}
        return [signal for signal in SIGNALS if truths[signal] == "true"], probabilities, prefix

    def _truth(self, signal: Signal, scores: Scores) -> tuple[str, float | None]:
        """ "true" or "false", and the probability of the former."""
        if scores.probabilities is None:
            return scores.choice, None
        chance = self._calibrated(signal, {value: scores.probabilities[value] for value in _TRUE_FALSE})["true"]
        return ("true" if chance > 0.5 else "false"), chance

    async def _report(self, request: ReportRequest) -> AsyncGenerator[Analysis | str, None]:
        prefix, close = '{"citations":[', '],"answer":"'
        citations: list[int] = []
        while not citations or citations[-1] < len(request.passages) - 1:
            # Ascending order, so a set of passages has one spelling.
            following = range(citations[-1] + 1 if citations else 0, len(request.passages))
            comma = "," if citations else ""
            choices = {"": close, **{str(i): f"{comma}{i}" for i in following}}
            [scores] = await self._conversation.score([Field(prefix, choices)])
            if scores.choice == "":
                break
            citations.append(int(scores.choice))
            prefix += comma + scores.choice
        yield ReportAnswer(**self._common(), citations=citations, answer=None)
        if request.explain:
            pieces = []
            async for piece in self._write(prefix + close, request.max_tokens):
                pieces.append(piece)
                yield piece
            yield ReportAnswer(**self._common(), citations=citations, answer="".join(pieces))

    def _write(self, prefix: str, max_tokens: int) -> AsyncIterator[str]:
        return self._conversation.write(prefix, max_tokens=max_tokens, in_json_string=True)

    def _calibrated(self, name: FieldName, raw: Mapping[_Label, float]) -> dict[_Label, float]:
        """The probabilities of a field, corrected where the adapter's folder says how."""
        # A sum of rounded products may end a hair above 1.
        probabilities = {label: min(probability, 1.0) for label, probability in raw.items()}
        if self._about.calibration is None:
            return probabilities
        condition: Condition = "with_context" if self._with_context else "without_context"
        fit = self._about.calibration.fields.get(name, {}).get(condition)
        if fit is None:
            return probabilities
        corrected = apply({str(label): probability for label, probability in probabilities.items()}, fit)
        return {label: corrected[label] for label in probabilities}

    def _common(self) -> _Common:
        work = self._conversation.work
        return {
            "id": self._id,
            "model": ModelInfo(
                backend="finetuned",
                base=self._engine.info.base,
                adapter=self._adapter,
                prompt_version=self._about.prompt_version,
            ),
            "usage": Usage(prompt_tokens=work.prompt_tokens, completion_tokens=work.completion_tokens),
            "timing_ms": Timing(
                queue=_ms(work.queue_seconds),
                model=_ms(work.model_seconds),
                total=_ms(time.monotonic() - self._started),
            ),
            "calibrated": self._scored and self._about.calibration is not None,
            "truncated": self._truncated,
        }


def _most_likely(probabilities: Mapping[_Label, float]) -> _Label:
    return max(probabilities, key=probabilities.__getitem__)


def _label(labels: Sequence[_Label], text: str) -> _Label:
    return next(label for label in labels if label == text)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)

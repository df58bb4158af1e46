"""Answers of a model that continues them: their fields are scored, and only the text is written.

The answer's JSON is never generated: the text between its fields is fed. So every answer satisfies the schema, whatever
the model or the news says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import TypedDict, TypeVar

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

from fintunnel_server.engine import AdapterInfo, Conversation, Field, Scores

__all__ = ["Common", "ScoredAnswer"]

_TRUE_FALSE = ("true", "false")
_Label = TypeVar("_Label", bound=str)


class Common(TypedDict):
    """The fields that both kinds of answer carry, but for `calibrated`."""

    id: str
    model: ModelInfo
    usage: Usage
    timing_ms: Timing
    truncated: bool


class ScoredAnswer:
    """One answer in the making.

    Args:
        about: the adapter that answers.
        common: the fields that both kinds of answer carry, as they are when it is called.
    """

    def __init__(self, conversation: Conversation, *, about: AdapterInfo, common: Callable[[], Common]) -> None:
        self._conversation = conversation
        self._about = about
        self._common = common
        self._with_context = False
        self._scored = False  # probabilities were had

    def parts(self, request: NewsRequest | ReportRequest) -> AsyncGenerator[NewsAnalysis | ReportAnswer | str, None]:
        """Gives what `analyze` gives, in its order."""
        return self._news(request) if isinstance(request, NewsRequest) else self._report(request)

    async def _news(self, request: NewsRequest) -> AsyncGenerator[NewsAnalysis | ReportAnswer | str, None]:
        self._with_context = request.context is not None
        impact, direction, impact_probs, direction_probs, prefix = await self._impact_and_direction()
        signals: list[Signal] | None = None
        signal_probs: dict[Signal, float] | None = None
        if self._with_context:
            signals, signal_probs, prefix = await self._signals(prefix)

        def analysis(rationale: str | None) -> NewsAnalysis:
            return NewsAnalysis(
                **self._common(),
                calibrated=self._scored and self._about.calibration is not None,
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

    async def _report(self, request: ReportRequest) -> AsyncGenerator[NewsAnalysis | ReportAnswer | str, None]:
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
        yield ReportAnswer(**self._common(), calibrated=False, citations=citations, answer=None)
        if request.explain:
            pieces = []
            async for piece in self._write(prefix + close, request.max_tokens):
                pieces.append(piece)
                yield piece
            yield ReportAnswer(**self._common(), calibrated=False, citations=citations, answer="".join(pieces))

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


def _most_likely(probabilities: Mapping[_Label, float]) -> _Label:
    return max(probabilities, key=probabilities.__getitem__)


def _label(labels: Sequence[_Label], text: str) -> _Label:
    return next(label for label in labels if label == text)

"""What `DeepSeekClient.stream` gives, in this order: `Labels`, `TextPiece` …, `Done`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from fintunnel.wire import NewsAnalysis, ReportAnswer

__all__ = ["Done", "Labels", "StreamPart", "TextPiece"]

_Analysis = TypeVar("_Analysis", bound=NewsAnalysis | ReportAnswer)


@dataclass(frozen=True)
class Labels(Generic[_Analysis]):
    """The labels (of news) or citations (of a report) with their probabilities; the text is still null."""

    analysis: _Analysis


@dataclass(frozen=True)
class TextPiece:
    """The next piece of the rationale or the answer."""

    text: str


@dataclass(frozen=True)
class Done(Generic[_Analysis]):
    """The whole answer. Its text is that of all pieces together."""

    analysis: _Analysis


StreamPart = Labels[_Analysis] | TextPiece | Done[_Analysis]

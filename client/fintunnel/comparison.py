"""The base model's answer beside the tuned one's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from fintunnel.wire import NewsAnalysis, ReportAnswer

__all__ = ["Comparison"]

_Analysis = TypeVar("_Analysis", bound=NewsAnalysis | ReportAnswer)
_COMPARED = ("impact", "direction", "signals", "rationale", "citations", "answer")


@dataclass(frozen=True)
class Comparison(Generic[_Analysis]):
    """`base`: without an adapter; `tuned`: with the one that was asked for, else the server's default."""

    base: _Analysis
    tuned: _Analysis

    @property
    def changed(self) -> list[str]:
        """The fields in which the two differ: labels, citations, text; not probabilities, times and token counts."""
        return [name for name in _COMPARED if getattr(self.base, name, None) != getattr(self.tuned, name, None)]

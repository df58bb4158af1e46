"""A `ComparisonResult` asked by name: which system, which measure, which difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from fintunnel_training.comparison.result import (
    ComparisonResult,
    Difference,
    Estimate,
    Group,
    MeasureName,
    System,
    SystemKind,
)

__all__ = ["HEADLINES", "Findings", "number_in"]


class Headline(NamedTuple):
    group: Group
    name: MeasureName


HEADLINES: tuple[Headline, ...] = (
    Headline("impact", "auc"),
    Headline("impact", "macro_f1"),
    Headline("direction", "macro_f1"),
    Headline("reports", "figures_right"),
    Headline("reports", "citations_right"),
    Headline("reports", "not_stated_right"),
    Headline("form", "valid_free"),
)
"""What the summary speaks of one by one; the rest it only names."""


class Findings:
    def __init__(self, result: ComparisonResult) -> None:
        self.result = result
        self._systems = {system.name: system for system in result.systems}
        self._estimates = {(m.group, m.name): m.systems for m in result.measures}

    def of_kind(self, kind: SystemKind) -> list[System]:
        return [system for system in self.result.systems if system.kind == kind]

    def kind(self, system: str) -> SystemKind | None:
        return self._systems[system].kind if system in self._systems else None

    def base_of(self, tuned: str) -> System | None:
        """The base that it was compared with, else the first one."""
        named = [d.second for d in self.result.differences if d.first == tuned and d.against == "base"]
        bases = self.of_kind("base")
        return next((self._systems[n] for n in named if n in self._systems), bases[0] if bases else None)

    def estimate(self, group: Group, name: MeasureName, system: str) -> Estimate | None:
        return self._estimates.get((group, name), {}).get(system)

    def value(self, group: Group, name: MeasureName, system: str) -> float | None:
        found = self.estimate(group, name, system)
        return None if found is None else found.value

    def differences(
        self,
        first: str,
        against: Literal["base", "best_baseline"],
        where: Callable[[Difference], bool] = lambda _: True,
    ) -> list[Difference]:
        return [d for d in self.result.differences if d.first == first and d.against == against and where(d)]

    def difference(
        self, group: Group, name: MeasureName, first: str, against: Literal["base", "best_baseline"]
    ) -> Difference | None:
        found = self.differences(first, against, lambda d: d.group == group and d.name == name)
        return found[0] if found else None


def number_in(record: Any, *path: str) -> float | None:
    """A number of a JSON object that was written elsewhere; None where there is none."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return float(record) if isinstance(record, int | float) and not isinstance(record, bool) else None

"""What was asked, and whom, as the report tells it."""

from __future__ import annotations

from collections.abc import Sequence

from fintunnel.wire import HORIZON_MIN, NewsRequest, ReportRequest

from fintunnel_training.comparison.answers import StoredSystem
from fintunnel_training.comparison.asking import Plan
from fintunnel_training.comparison.baselines import FIELDS
from fintunnel_training.comparison.cases import Case, CaseFile
from fintunnel_training.comparison.outcomes import Outcome
from fintunnel_training.comparison.result import Data, FieldName, System

__all__ = ["data_of", "system_of"]


def data_of(file: CaseFile, cases: Sequence[Case], wanted: Plan, training_rows: int) -> Data:
    """`training_rows`: that the baselines were fitted on."""
    news = [case for case in cases if isinstance(case.request, NewsRequest)]
    times = sorted(case.at for case in news if case.at is not None)
    classes: dict[FieldName, dict[str, int]] = {
        name: {label: sum(getattr(case, name) == label for case in news) for label in labels}
        for name, labels in FIELDS.items()
    }
    return Data(
        source=file.path.name if file.path is not None else "--cases",
        sha256=file.sha256,
        news=len(news),
        labelled=sum(case.impact is not None or case.direction is not None for case in news),
        with_context=sum(isinstance(case.request, NewsRequest) and case.request.context is not None for case in news),
        explained=sum(isinstance(case.request, NewsRequest) for case in wanted.text),
        reports=sum(isinstance(case.request, ReportRequest) for case in wanted.text),
        days=len({case.beijing_day for case in news} - {None}),
        first=times[0] if times else None,
        last=times[-1] if times else None,
        horizon_min=next((case.horizon_min for case in news), HORIZON_MIN),
        classes={name: counts for name, counts in classes.items() if any(counts.values())},
        training_rows=training_rows,
    )


def system_of(system: StoredSystem, outcome: Outcome, failures: dict[str, str]) -> System:
    return System(
        name=system.name,
        kind=system.kind,
        model=system.model,
        adapter=system.adapter,
        calibrated=outcome.calibrated,
        asked=outcome.asked,
        answered=len(outcome.answers),
        failed=outcome.failed,
        failure=failures.get(system.name) or outcome.failure,
    )

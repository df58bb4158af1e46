"""What the baselines are called where people read."""

from __future__ import annotations

from fintunnel_training.comparison.report.say import Say
from fintunnel_training.comparison.result import ComparisonResult

__all__ = ["with_baseline_names"]

_NAMES = {
    "majority": ("多数类", "majority class"),
    "prior": ("按先验随机猜", "random by prior"),
    "tfidf_svc": ("TF-IDF + SVC", "TF-IDF + SVC"),
    "context_regression": ("行情逻辑回归", "market regression"),
}


def with_baseline_names(result: ComparisonResult, say: Say) -> ComparisonResult:
    """The same findings under the names of the report's language. A model that bears such a name keeps it."""
    models = {system.name for system in result.systems if system.kind != "baseline"}
    wanted = {
        system.name: say(*_NAMES[system.name])
        for system in result.systems
        if system.kind == "baseline" and system.name in _NAMES
    }
    names = {old: new for old, new in wanted.items() if new not in models}

    def name(old: str) -> str:
        return names.get(old, old)

    return result.model_copy(
        update={
            "systems": [each.model_copy(update={"name": name(each.name)}) for each in result.systems],
            "measures": [
                each.model_copy(update={"systems": {name(system): found for system, found in each.systems.items()}})
                for each in result.measures
            ],
            "differences": [each.model_copy(update={"second": name(each.second)}) for each in result.differences],
            "reliability": [each.model_copy(update={"system": name(each.system)}) for each in result.reliability],
            "confusion": [each.model_copy(update={"system": name(each.system)}) for each in result.confusion],
        }
    )

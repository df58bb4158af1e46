"""Results in which something is missing, or in which every text is hostile."""

from __future__ import annotations

import json

from fintunnel.wire import NewsRequest, Passage, ReportRequest
from fintunnel_training.comparison.result import ComparisonResult, System

from tests.training.comparison_parts import BASE, HOSTED, TUNED
from tests.training.comparison_results import BASELINES, full

HOSTILE = (
    "<script>alert(1)</script></style><img src=x onerror=alert(1)>\"'>"
    "\u202egnp.exe\x00\x1b[31m|`$x$ https://evil.example/"
)
VARIANTS = (
    "full",
    "no_labels",
    "few_rows",
    "failed_system",
    "no_baselines",
    "no_people",
    "cases_only",
    "no_evidence",
    "hostile",
)


def variant(name: str) -> ComparisonResult:
    result = full()
    match name:
        case "no_labels":
            return _without_labels(result)
        case "few_rows":
            few = ("只有 12 行，少于 30 行，不给区间", "only 12 rows, fewer than 30: no interval")
            data = result.data.model_copy(update={"news": 12, "labelled": 12, "reports": 0, "days": 1})
            measures = [
                m.model_copy(
                    update={
                        "systems": {
                            s: e.model_copy(update={"low": None, "high": None, "why_not": e.why_not or few, "rows": 12})
                            for s, e in m.systems.items()
                        }
                    }
                )
                for m in result.measures
            ]
            differences = [
                d.model_copy(
                    update={"low": None, "high": None, "lows": [], "highs": [], "verdict": "unknown", "why_not": few}
                )
                for d in result.differences
            ]
            return result.model_copy(update={"data": data, "measures": measures, "differences": differences})
        case "failed_system":
            failed = System(
                name="坏掉的适配器",
                kind="tuned",
                model="x",
                adapter="bad",
                asked=396,
                failed=396,
                failure="服务器没有这个适配器",
            )
            return result.model_copy(update={"systems": [*result.systems, failed]})
        case "no_baselines":
            systems = [s for s in result.systems if s.kind != "baseline"]
            return result.model_copy(
                update={
                    "systems": systems,
                    "measures": [
                        m.model_copy(update={"systems": {s: e for s, e in m.systems.items() if s not in BASELINES}})
                        for m in result.measures
                    ],
                    "differences": [d for d in result.differences if d.against == "base"],
                    "confusion": [c for c in result.confusion if c.system not in BASELINES],
                }
            )
        case "no_people":
            return result.model_copy(update={"people": None})
        case "cases_only":
            bare = _without_labels(result)
            data = bare.data.model_copy(
                update={"news": 2, "reports": 0, "with_context": 0, "first": None, "last": None, "sha256": None}
            )
            examples = [
                e.model_copy(update={"chosen": "asked", "impact": None, "direction": None, "reference": None})
                for e in result.examples
            ]
            return bare.model_copy(
                update={"data": data, "measures": [], "examples": examples, "card": None, "people": None, "notes": []}
            )
        case "no_evidence":
            bare_training = result.training[0].model_copy(
                update={"info": None, "calibration": None, "adapter_bytes": 0}
            )
            return result.model_copy(update={"training": [bare_training], "card": {"source": 3}, "people": None})
        case "hostile":
            return hostile()
    return result


def _without_labels(result: ComparisonResult) -> ComparisonResult:
    data = result.data.model_copy(update={"labelled": 0, "classes": {}, "days": 0})
    return result.model_copy(
        update={
            "data": data,
            "systems": [s for s in result.systems if s.kind != "baseline"],
            "measures": [m for m in result.measures if m.group in ("form", "speed")],
            "differences": [],
            "reliability": [],
            "confusion": [],
        }
    )


def hostile() -> ComparisonResult:
    """Every text that others write is `HOSTILE`, and systems are named by it."""
    result = full()
    dumped = result.model_dump_json()
    for name in (BASE, TUNED, HOSTED):
        dumped = dumped.replace(f'"{name}"', json.dumps(HOSTILE + name))  # still told apart by its end
    changed = ComparisonResult.model_validate_json(dumped)
    examples = [
        e.model_copy(
            update={
                "request": NewsRequest(text=HOSTILE),
                "reference": HOSTILE,
                "answers": [
                    a.model_copy(update={"text": HOSTILE + "a" * i, "failure": HOSTILE})
                    for i, a in enumerate(e.answers)
                ],
            }
        )
        for e in changed.examples
    ]
    report = ReportRequest(question=HOSTILE, passages=[Passage(text=HOSTILE, source=HOSTILE)])
    examples.append(examples[0].model_copy(update={"request": report}))
    systems = [s.model_copy(update={"failure": HOSTILE, "failed": 1, "model": HOSTILE}) for s in changed.systems]
    assert changed.people is not None and changed.card is not None
    raters = [r.model_copy(update={"name": HOSTILE}) for r in changed.people.raters]
    return changed.model_copy(
        update={
            "examples": examples,
            "systems": systems,
            "people": changed.people.model_copy(update={"raters": raters}),
            "card": {**changed.card, "source": HOSTILE, "known_limits": [HOSTILE], "events_dropped": {HOSTILE: 3}},
            "notes": [(HOSTILE, HOSTILE)],
            "reproduce": [HOSTILE],
            "versions": {HOSTILE: HOSTILE},
            "data": changed.data.model_copy(update={"source": HOSTILE}),
        }
    )

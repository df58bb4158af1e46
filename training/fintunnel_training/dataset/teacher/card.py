"""What the dataset card says of a teacher's work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from fintunnel_training.dataset.teacher.cost import Prices, Tokens
from fintunnel_training.dataset.teacher.protocol import FAILURES_ZH, Teacher
from fintunnel_training.dataset.teacher.run import Run
from fintunnel_training.dataset.teacher.teacher import REASONS_ZH

__all__ = ["teacher_section"]


def teacher_section(keys: Sequence[str], run: Run, teacher: Teacher, prices: Prices | None) -> dict[str, Any]:
    """What the card says of the teacher. `keys`: of the question of each row that may be rewritten; `rows` and
    `same_question` count rows, everything else questions. Tokens and cost are those of all the answers used or rejected
    here, cached ones included."""
    rows = len(keys)
    keys = list(dict.fromkeys(keys))
    host = httpx.URL(teacher.url).netloc.decode()
    rejected = Counter(reason for key in keys if key in run.answers and (reason := run.answers[key][1].reason))
    failed = Counter(run.failures[key] for key in keys if key in run.failures)
    tokens = Tokens()
    for key in keys:
        if key in run.answers:
            tokens = tokens.plus(run.answers[key][0].tokens)
    accepted = sum(key in run.answers and run.answers[key][1].reason is None for key in keys)
    not_asked = len(keys) - accepted - rejected.total() - failed.total()
    parts = [f"采纳 {accepted} 个", f"拒收 {rejected.total()} 个{_reasons(rejected, REASONS_ZH)}"]
    if failed:
        parts.append(f"没有得到回答 {failed.total()} 个{_reasons(failed, FAILURES_ZH)}")
    if not_asked:
        parts.append(f"未问 {not_asked} 个" + ("（到了预算）" if run.over_budget else ""))
    return {
        "model": teacher.model,
        "host": host,
        "rows": rows,
        "questions": len(keys),
        "same_question": rows - len(keys),
        "accepted": accepted,
        "rejected": dict(sorted(rejected.items())),
        "failed": dict(sorted(failed.items())),
        "not_asked": not_asked,
        "budget_reached": run.over_budget,
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "cost": round(prices.cost(tokens), 6) if prices else None,
        "summary": f"教师 {teacher.model}（{host}）只看输入，{rows} 行里有 {len(keys)} 个不同的题目："
        + "，".join(parts)
        + f"。改写 {accepted} 行"
        + (f"；{rows - len(keys)} 行与前面的题目相同，保留原理由" if rows > len(keys) else "")
        + "；未采纳的行也保留原来的理由。",
    }


def _reasons(counts: Mapping[str, int], names: Mapping[str, str]) -> str:
    if not counts:
        return ""
    return "（" + "，".join(f"{names[reason]} {count}" for reason, count in sorted(counts.items())) + "）"

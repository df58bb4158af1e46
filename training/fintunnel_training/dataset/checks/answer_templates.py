"""How many answers are one sentence with other numbers in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from fintunnel_training.dataset.checks.checked_rows import CheckedRow
from fintunnel_training.dataset.checks.findings import Finding
from fintunnel_training.dataset.checks.row_classes import json_answer

__all__ = ["one_template"]

_QUOTE = re.compile(r"「[^」]*」|《[^》]*》|“[^”]*”")
_CLASS = re.compile(
    r"上涨|下跌|上升|下降|走高|走低|利好|利空|利多|中性|看涨|看跌|涨|跌|bullish|bearish|neutral|rose|fell"
)
_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?")
_MOST = 0.3
_FEW = 20  # rows: of fewer no share is taken


def one_template(rows: Sequence[CheckedRow]) -> tuple[dict[str, float], list[Finding]]:
    """The share of rows in the largest group of answers that differ in numbers, quotations and class words alone, by
    kind where FinTunnel made the rows ("" elsewhere), and a finding where it is over 30 %.

    Equal answers without a number are classes or refusals, no templates. Of a JSON answer its longest text counts.
    """
    by_kind: dict[str, list[CheckedRow]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    shares: dict[str, float] = {}
    findings = []
    for kind, members in by_kind.items():
        if len(members) < _FEW:
            continue
        groups: dict[str, list[CheckedRow]] = defaultdict(list)
        for row in members:
            groups[_template(row.row.output)].append(row)
        templates = [group for template, group in groups.items() if "#" in template]
        largest = max(templates, key=len, default=[])
        shares[kind] = round(len(largest) / len(members), 4)
        if shares[kind] > _MOST:
            examples = [row.example(row.row.output) for row in largest[:3]]
            name = f"（{kind}）" if kind else ""
            findings.append(
                Finding(
                    "one_template",
                    "错误",
                    f"千篇一律的答案{name}：只有数字和涨跌不同",
                    len(largest),
                    len(members),
                    "模型只会背这句话。请按每条的内容写理由，或用 fintunnel dataset build 生成。",
                    examples,
                )
            )
    return shares, findings


def _template(output: str) -> str:
    answer = json_answer(output)
    if answer is not None:
        texts = [value for value in answer.values() if isinstance(value, str)]
        output = max(texts, key=len, default=output)
    return _NUMBER.sub("#", _CLASS.sub("±", _QUOTE.sub("「」", output)))

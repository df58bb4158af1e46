"""One headline, put to the base and to the tuned model of a running server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from fintunnel import DeepSeekClient
from fintunnel.chinese import LABELS_ZH
from fintunnel.wire import NewsAnalysis

from fintunnel_training.colab.showing import Table, show

__all__ = ["before_and_after"]

Label = TypeVar("Label", bound=str)

_ANSWER_SECONDS = 300.0  # a large base that has only just been loaded


def before_and_after(url: str, api_key: str, headline: str) -> None:
    """
    Raises:
        FinTunnelError: an answer did not come.
    """
    with DeepSeekClient(backend="finetuned", url=url, api_key=api_key, timeout=_ANSWER_SECONDS) as client:
        before, after = (_facts(client.analyze(headline, adapter=adapter)) for adapter in ("base", None))
    rows = [(name, before[name], after[name]) for name in before]
    show(Table(f"同一条消息，微调前后：{headline}", ("", "微调前（base）", "微调后"), rows))


def _facts(analysis: NewsAnalysis) -> dict[str, str]:
    return {
        "影响": _label(analysis.impact, dict(analysis.impact_probs or {})),
        "方向": _label(analysis.direction, dict(analysis.direction_probs or {})),
        "理由": analysis.rationale or "–",
        "用时": f"{analysis.timing_ms.total / 1000:.1f} 秒",
    }


def _label(label: Label, probabilities: Mapping[Label, float]) -> str:
    """Some servers give no probabilities."""
    return f"{LABELS_ZH[label]} {probabilities[label]:.1%}" if probabilities else LABELS_ZH[label]

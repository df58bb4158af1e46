"""The wording of answers' reasons, from what was known at publication and nothing else.

`explain` is a function of the event, the market before it and a random generator that picks among wordings: it takes
no label, no edge and no price after publication, so it cannot tell what happened next. Where economics argues both
ways, both stand in the text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fintunnel.prompt import format_number
from fintunnel.wire import Context, Figures, Signals

from fintunnel_training.dataset.economics import expected_direction, indicator_meaning, news_kind
from fintunnel_training.dataset.sources.figures import release_figures, worded_surprise
from fintunnel_training.dataset.sources.records import Event

__all__ = ["explain", "explain_market"]

_QUOTE_CHARACTERS = 22
_HIGH_IMPORTANCE = 4
# Asked for 160 tokens by default, an answer of so many characters ends by itself in an English vocabulary too.
_LONG = 90
_TRIES = 8
_PRICED_IN = (
    "消息公布之前，价格已朝数据所指的方向走出明显一段，属于预期兑现",
    "先行的走势与消息方向一致，利多或利空已提前反映，判断为预期兑现",
    "涨跌幅度明显且与消息方向相符，属于预期兑现",
)
_PRICED_IN_LINE = (
    "数据与预期一致，而价格事先已走出明显一段，属于预期兑现",
    "结果没有意外，行情已提前走完，判断为预期兑现",
)
_WAITING = (
    "波动大而涨跌小，多空拉锯，属于观望",
    "振幅较宽却没有方向，市场在观望",
    "来回震荡没有净涨跌，说明双方都在等消息，判断为观望",
)
_NEITHER = (
    "涨跌不足以说明提前反映，振幅也不算拉锯，两者都不明显",
    "未见预期兑现，也不算观望",
    "走势没有给出预期兑现或观望的迹象",
)
_AS_EXPECTED = (
    "没有意外，金价更多由美元和仓位主导",
    "符合预想，方向要看市场事先押注了哪一边",
    "预期差为零，关注点转向此前的走势",
)


def explain(event: Event, context: Context | None, rng: random.Random) -> str:
    """The rationale of a news answer: what was published and how it compares, what it usually does to gold and the
    dollar, and how the market had moved before."""
    for _ in range(_TRIES):
        text = _compose(event, context, _Wording(rng, extras=True))
        if len(text) <= _LONG:
            return text
    return _compose(event, context, _Wording(rng, extras=False))


@dataclass(frozen=True)
class _Wording:
    """Picks among wordings; `extras`: whether facts of second rank may stand."""

    rng: random.Random
    extras: bool

    def choice(self, texts: Sequence[str]) -> str:
        return self.rng.choice(texts)

    def now_and_then(self, share: float) -> bool:
        return self.rng.random() < share and self.extras


def _compose(event: Event, context: Context | None, wording: _Wording) -> str:
    figures = release_figures(event)
    released = figures is not None and figures.actual is not None
    parts = _release(figures, wording) if figures is not None and released else _news(event.text, wording)
    if event.importance is not None and event.importance >= _HIGH_IMPORTANCE and wording.now_and_then(0.5):
        parts.append(
            wording.choice(
                ("重要性高，市场事先多有布局", "属于重点数据或消息，成交往往集中", "重要性靠前，预期差更受关注")
            )
        )
    if context is not None:
        parts.append(_before(context, wording) + _agreement(figures, context, wording))
    return "。".join(parts) + "。"


def explain_market(
    event: Event,
    context: Context | None,
    signals: Signals | None,
    rng: random.Random,
) -> str:
    """The answer to "priced in or waiting?": the market before, and which of the two signals it shows."""
    if context is None or signals is None:
        return "资料里没有发布前的行情，无法判断是预期兑现还是观望。"
    reasons = []
    if signals.priced_in:
        in_line = expected_direction(release_figures(event)) == "in_line"
        reasons.append(rng.choice(_PRICED_IN_LINE if in_line else _PRICED_IN))
    if signals.wait_and_see:
        reasons.append(rng.choice(_WAITING))
    return f"{_before(context, _Wording(rng, extras=True))}。{'；'.join(reasons or [rng.choice(_NEITHER)])}。"


# --- what was published -----------------------------------------------------------------------------


def _release(figures: Figures, wording: _Wording) -> list[str]:
    unit = figures.unit or ""
    actual_value = figures.actual or 0.0
    actual = f"{format_number(actual_value)}{unit}"
    reference, name = (figures.consensus, "预期") if figures.consensus is not None else (figures.previous, "前值")
    if reference is None:
        return [
            wording.choice((f"实际值{actual}，没有可比的预期和前值", f"公布值为{actual}，缺少预期和前值作比较")),
            wording.choice(("影响取决于市场此前的定价", "没有参照，金价更多跟随美元和仓位")),
        ]
    against = f"{name}{format_number(reference)}{unit}"
    surprise = actual_value - reference
    if abs(surprise) < 1e-9:
        opening = wording.choice((f"实际值{actual}，与{against}一致", f"公布{actual}，符合{against}"))
        meaning = wording.choice(_AS_EXPECTED)
    else:
        size = _difference(surprise, unit)
        word = "高于" if surprise > 0 else "低于"
        opening = wording.choice(
            (
                f"实际值{actual}，{word}{against}，相差{size}",
                f"公布{actual}，较{against}{'高' if surprise > 0 else '低'}{size}",
                f"数据{word}{against}：实际{actual}，差{size}",
            )
        )
        meaning = wording.choice(indicator_meaning(figures, above=surprise > 0))
    if name == "预期" and figures.previous is not None and wording.now_and_then(0.6):
        opening += _against_previous(actual_value - figures.previous, figures.previous, unit)
    return [opening, meaning]


def _against_previous(change: float, previous: float, unit: str) -> str:
    if abs(change) < 1e-9:
        return f"，与前值{format_number(previous)}{unit}持平"
    return f"，比前值{format_number(previous)}{unit}{'高' if change > 0 else '低'}{_difference(change, unit)}"


def _difference(value: float, unit: str) -> str:
    return format_number(abs(value)) + ("个百分点" if unit == "%" else unit)


def _news(text: str, wording: _Wording) -> list[str]:
    kind = news_kind(text)
    quote = _quote(text)
    # Never a mark first: after the JSON quote it would be tokenised together with it, unlike when it is served.
    opening = wording.choice(
        (
            f"消息「{quote}」属于{kind.name}类",
            f"关于{kind.name}：「{quote}」",
            f"这条{kind.name}消息说的是「{quote}」",
            f"内容是「{quote}」，归入{kind.name}",
        )
    )
    surprise = worded_surprise(text)
    if surprise is None:
        return [opening, wording.choice(kind.why)]
    figures, side = surprise
    if side == 0:
        return [opening, wording.choice(_AS_EXPECTED)]
    return [opening, wording.choice(indicator_meaning(figures, above=side > 0))]


@lru_cache(maxsize=50_000)  # one event is worded several times
def _quote(text: str) -> str:
    """The headline's first words, cut between clauses where that leaves enough of it, never inside a number."""
    plain = re.sub(r"[(（][^()（）]*[)）]", "", re.sub(r'["\\<>「」]', "", text))
    headline = re.split(r"[】。！？]", plain.lstrip("【 "))[0].strip()
    if len(headline) <= _QUOTE_CHARACTERS:
        return headline
    cut = headline[:_QUOTE_CHARACTERS]
    clause = max(cut.rfind(mark) for mark in "，；, ")
    if clause >= _QUOTE_CHARACTERS // 2:
        cut = cut[:clause]
    return re.sub(r"[\s\d.:：,，、(（]+$", "", cut) + "…"


# --- the market before ------------------------------------------------------------------------------


def _before(context: Context, wording: _Wording) -> str:
    move = context.pre_return * 100
    moved = "基本持平" if abs(move) < 0.015 else f"{'上涨' if move > 0 else '下跌'}{abs(move):.2f}%"
    opening = wording.choice(
        (f"此前{context.window_min}分钟", f"发布前{context.window_min}分钟金价", f"消息前{context.window_min}分钟金价")
    )
    return f"{opening}{moved}，波幅{context.volatility * 100:.2f}%"


def _agreement(figures: Figures | None, context: Context, wording: _Wording) -> str:
    """Whether the move before points where the surprise points: a comparison, no verdict."""
    expected = expected_direction(figures)
    if expected not in ("up", "down") or abs(context.pre_return) < 5e-5 or not wording.now_and_then(0.6):
        return ""
    same = (context.pre_return > 0) == (expected == "up")
    return wording.choice(
        ("，与数据通常所指的方向一致", "，走在数据含义的同一侧")
        if same
        else ("，与数据通常所指的方向相反", "，走在数据含义的另一侧")
    )

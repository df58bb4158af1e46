"""A tuned model and its base that answer differently, and at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fintunnel.prompt import Message
from fintunnel.wire import Edges

from tests.instant_engine import InstantConversation, InstantEngine

TUNED_TEXT = "公布值高于预期0.3个百分点，通常支持美元并压低金价；此前两小时已上涨0.18%，部分预期或已兑现。"
BASE_TEXT = "通胀数据高于预期，通常会推高金价，投资者应当关注后续政策。"


@dataclass
class TwoModels(InstantEngine):
    """The fields of `InstantEngine` are the tuned model's; `base` answers for the bare base. `asked`: the prompts."""

    weights: dict[str, float] = field(
        default_factory=lambda: {"high": 5.2, "medium": 2.4, "bearish": 3.6, "neutral": 1.3, "true": 1.9}
    )
    text: str = TUNED_TEXT
    edges: Edges | None = field(
        default_factory=lambda: Edges(
            impact=(1.0, 2.1),
            direction=(-0.4, 0.4),
            priced_in_pre_return=0.0021,
            wait_and_see_volatility=0.0046,
            wait_and_see_pre_return=0.0004,
        )
    )
    base: InstantEngine = field(
        default_factory=lambda: InstantEngine(weights={"medium": 1.8, "bullish": 1.6, "true": 0.6}, text=BASE_TEXT)
    )
    asked: list[list[Message]] = field(default_factory=list)

    @asynccontextmanager
    async def open(
        self, messages: list[Message], *, adapter: str | None, answer_tokens: int, shared: str = ""
    ) -> AsyncIterator[InstantConversation]:
        self.asked.append(messages)
        opened = super().open if adapter is not None else self.base.open
        async with opened(messages, adapter=adapter, answer_tokens=answer_tokens, shared=shared) as conversation:
            yield conversation

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fintunnel_server.merge_check import CHECKED, changed_labels, check_labels

from tests.instant_engine import InstantConversation, InstantEngine


class Counting(InstantEngine):
    most = 0

    @asynccontextmanager
    async def open(self, *arguments: Any, **keywords: Any) -> AsyncIterator[InstantConversation]:
        async with super().open(*arguments, **keywords) as conversation:
            self.most = max(self.most, self.open_now)
            await asyncio.sleep(0.001)
            yield conversation


def test_no_more_headlines_are_asked_at_once_than_there_is_room_for() -> None:
    engine = Counting(weights={"high": 9.0, "bullish": 9.0})
    assert check_labels(engine, at_once=3) == ["high", "bullish"] * (CHECKED // 2)
    assert engine.most == 3


def test_labels_that_differ_are_counted() -> None:
    before = check_labels(InstantEngine(weights={"high": 9.0, "bullish": 9.0}), at_once=8)
    after = check_labels(InstantEngine(weights={"high": 9.0, "bearish": 9.0}), at_once=8)
    assert changed_labels(before, before) == 0 and changed_labels(before, after) == CHECKED // 2

"""How far a request has got, and the time that it may take."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from fintunnel.chinese import LABELS_ZH
from fintunnel.wire import NewsAnalysis

from fintunnel_server.analyze import Analysis
from fintunnel_server.limits import deadline

__all__ = ["Progress"]


class Progress:
    """Sees what a request gives; past `seconds` it ends it and says what was reached."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scored: Analysis | None = None
        self._characters = 0

    def in_time(self) -> AbstractAsyncContextManager[None]:
        """
        Raises:
            ApiError: 504, what is inside took too long.
        """
        return deadline(self._seconds, self._reached)

    def saw(self, part: Analysis | str) -> None:
        if isinstance(part, str):
            self._characters += len(part)
        else:
            self._scored = part

    async def last(
        self, parts: AsyncGenerator[Analysis | str, None], tell: Callable[[Analysis | str], object] = str
    ) -> Analysis:
        """The whole analysis, which is the last part. `tell` is called with every part as it comes."""
        async with self.in_time(), aclosing(parts):
            async for part in parts:
                self.saw(part)
                tell(part)
        assert self._scored is not None
        return self._scored

    def _reached(self) -> str:
        if self._scored is None and not self._characters:
            return "还没有得到任何结果。"
        known = []
        if isinstance(self._scored, NewsAnalysis):
            known.append(f"影响{LABELS_ZH[self._scored.impact]}、方向{LABELS_ZH[self._scored.direction]}")
        elif self._scored is not None:
            known.append(f"引用资料 {self._scored.citations}")
        if self._characters:
            known.append(f"文字写了 {self._characters} 个字")
        return f"已得到：{'，'.join(known)}。"

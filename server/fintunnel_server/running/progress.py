"""How far a request has got, and the time that it may take."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from fintunnel.chinese import LABELS_ZH
from fintunnel.wire import NewsAnalysis

from fintunnel_server.analysis.analyze import Analysis
from fintunnel_server.running.drain import Drain
from fintunnel_server.running.metrics import Metrics

__all__ = ["Progress"]


class Progress:
    """Sees what a request gives, for the metrics; past `seconds` it ends it and says what was reached."""

    def __init__(self, seconds: float, drain: Drain, metrics: Metrics, *, began: float | None = None) -> None:
        """`began`: `time.monotonic()` when the request arrived; default: now."""
        self._seconds = seconds
        self._drain = drain
        self._metrics = metrics
        self._began = began or time.monotonic()
        self._scored: Analysis | None = None
        self._characters = 0

    def another(self) -> Progress:
        """Of a part that has the same time as the whole."""
        return Progress(self._seconds, self._drain, self._metrics, began=self._began)

    def in_time(self) -> AbstractAsyncContextManager[None]:
        """
        Raises:
            ApiError: 504, what is inside took too long; 503, the server stops.
        """
        return self._drain.deadline(self._began, self._seconds, self._reached)

    def saw(self, part: Analysis | str) -> None:
        if isinstance(part, str):
            if part and not self._characters:
                self._metrics.first_token(time.monotonic() - self._began)
            self._characters += len(part)
        else:
            self._scored = part

    def ended(self, *, prompt_tokens: int, completion_tokens: int) -> None:
        """The whole answer is there."""
        self._metrics.tokens(prompt_tokens, completion_tokens)

    async def last(
        self, parts: AsyncGenerator[Analysis | str, None], tell: Callable[[Analysis | str], object] = str
    ) -> Analysis:
        """The whole analysis, which is the last part. `tell` is called with every part as it comes."""
        async with self.in_time(), aclosing(parts):
            async for part in parts:
                self.saw(part)
                tell(part)
        assert self._scored is not None
        usage = self._scored.usage
        self.ended(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
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

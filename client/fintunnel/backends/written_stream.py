"""An analysis that a model writes as JSON, read while it is written. No network here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from fintunnel.backends.chat import TextReader, usage_of
from fintunnel.backends.steps import Steps
from fintunnel.errors import MalformedAnswerError
from fintunnel.json_string import JsonStringReader
from fintunnel.stream_parts import Done, Labels, StreamPart, TextPiece
from fintunnel.transport.sse import ServerEvent
from fintunnel.transport.target import Target
from fintunnel.wire import NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest, Usage

__all__ = ["WrittenReader"]

_Analysis = NewsAnalysis | ReportAnswer


class AnalysisOf(Protocol):
    """Makes an analysis of written JSON.

    Raises:
        MalformedAnswerError: it is not what was asked for.
    """

    def __call__(
        self, text: str, request: NewsRequest | ReportRequest, *, usage: Usage, model: object, began: float
    ) -> _Analysis: ...


# The text that was written, why it is no good, what it cost, when it was begun -> an answer asked for once more.
Repair = Callable[[str, MalformedAnswerError, Usage, float], Steps[_Analysis]]


class WrittenReader:
    """The labels as soon as they are written, then the text as it is written. A model that writes the text before the
    labels gets no pieces: all comes at the end.

    Attributes:
        text: what was written so far.
        began: `time.monotonic()` before the request.
        emitted: something was given, which cannot be taken back.
        finished: no more events are wanted.
    """

    def __init__(
        self, target: Target, request: NewsRequest | ReportRequest, analysis_of: AnalysisOf, repair: Repair
    ) -> None:
        self._request = request
        self._analysis_of = analysis_of
        self._repair = repair
        self._field = "rationale" if isinstance(request, NewsRequest) else "answer"
        self._chat = TextReader(target)
        self._labels: _Analysis | None = None
        self._string = JsonStringReader()
        self._streamed = ""
        self.usage = Usage(prompt_tokens=0, completion_tokens=0)
        self.text = ""
        self.began = time.monotonic()
        self.finished = False

    @property
    def emitted(self) -> bool:
        return self._labels is not None

    def feed(self, event: ServerEvent) -> Iterator[StreamPart[_Analysis]]:
        """
        Raises:
            FinTunnelError: the event reports an error, or is no chunk.
        """
        for piece in self._chat.feed(event):
            self.text += piece
            if self._labels is None:
                yield from self._begin()
            else:
                yield from self._piece(piece)
        if self._chat.chunk.get("usage"):
            self.usage = usage_of(self._chat.chunk["usage"])
        # The counts may come in a chunk after the one that ends the answer.
        self.finished = event.data.strip() == "[DONE]"

    def end(self) -> Iterator[StreamPart[_Analysis]]:
        """
        Raises:
            ConnectionFailed: the stream broke off.
            MalformedAnswerError: the answer as a whole is not what was asked for.
        """
        self._chat.end()
        yield from self._rest(self._analysis(self.text, self._request))

    def again(self, problem: MalformedAnswerError) -> Steps[list[StreamPart[_Analysis]]] | None:
        """All parts, from an answer that is asked for once more; None where some were given already."""
        return None if self.emitted else self._again(problem)

    def _again(self, problem: MalformedAnswerError) -> Steps[list[StreamPart[_Analysis]]]:
        whole = yield from self._repair(self.text, problem, self.usage, self.began)
        return list(self._rest(whole))

    def _rest(self, whole: _Analysis) -> Iterator[StreamPart[_Analysis]]:
        """What is left to give of an analysis.

        Raises:
            MalformedAnswerError: it is not the one that was begun.
        """
        text = getattr(whole, self._field) or ""
        if self._labels is None:
            self._labels = whole.model_copy(update={self._field: None})
            yield Labels(self._labels)
            if text:
                yield TextPiece(text)
        elif text != self._streamed or _labels_of(whole) != _labels_of(self._labels):
            raise MalformedAnswerError("流里的各段和最后的完整回答对不上", advice="请重试。")
        yield Done(whole.model_copy(update={"id": self._labels.id}))

    def _begin(self) -> Iterator[StreamPart[_Analysis]]:
        opened = re.search(rf'(?<!\\)"{self._field}"\s*:\s*"', self.text) if self._request.explain else None
        if opened is None:
            return
        head = self.text[: opened.start()].rstrip().rstrip(",") + "}"
        try:
            self._labels = self._analysis(head, self._request.model_copy(update={"explain": False}))
        except MalformedAnswerError:
            return
        yield Labels(self._labels)
        yield from self._piece(self.text[opened.end() :])

    def _piece(self, written: str) -> Iterator[TextPiece]:
        text = self._string.feed(written)
        self._streamed += text
        if text:
            yield TextPiece(text)

    def _analysis(self, text: str, request: NewsRequest | ReportRequest) -> _Analysis:
        model = self._chat.chunk.get("model")
        return self._analysis_of(text, request, usage=self.usage, model=model, began=self.began)


def _labels_of(analysis: _Analysis) -> dict[str, Any]:
    return analysis.model_dump(include={"task", "impact", "direction", "signals", "citations"})

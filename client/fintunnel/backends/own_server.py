"""The backend `finetuned`: FinTunnel's own server. No network here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from fintunnel.backends.chat import TextReader, completion_of
from fintunnel.backends.steps import Pause, Steps
from fintunnel.broken_rules import rule_in_chinese
from fintunnel.check import Check
from fintunnel.completion import Completion
from fintunnel.errors import (
    ConfigurationError,
    ConnectionFailed,
    FinTunnelError,
    MalformedAnswerError,
)
from fintunnel.prompt import Message
from fintunnel.settings import Backend
from fintunnel.stream_parts import Done, Labels, StreamPart, TextPiece
from fintunnel.transport.call import Answer, Call
from fintunnel.transport.failures import clean, item_failure
from fintunnel.transport.sse import ServerEvent
from fintunnel.transport.target import Target
from fintunnel.wire import (
    AnalyzeResponse,
    BatchResponse,
    ErrorBody,
    NewsAnalysis,
    NewsRequest,
    ReportAnswer,
    ReportRequest,
)

__all__ = ["OwnReader", "OwnServer"]

_ANALYSIS: TypeAdapter[NewsAnalysis | ReportAnswer] = TypeAdapter(AnalyzeResponse)


class _Token(BaseModel):
    text: str


class _Model(BaseModel):
    """Of `GET /v1/models`, what is needed here: `openai_wire` is large, and every client would load it."""

    id: str
    root: str
    parent: str | None


class _Models(BaseModel):
    data: list[_Model]


@dataclass(frozen=True)
class OwnServer:
    """`model`: the name in chat requests (`fintunnel`: the server's default model)."""

    target: Target
    model: str
    name: ClassVar[Backend] = "finetuned"

    def analyze(self, request: NewsRequest | ReportRequest) -> Steps[NewsAnalysis | ReportAnswer]:
        answer = yield Call("/analyze", _body(request))
        return self._analysis(answer, request)

    def analyze_batch(
        self, requests: Sequence[NewsRequest | ReportRequest]
    ) -> Steps[list[NewsAnalysis | ReportAnswer | FinTunnelError]]:
        """In the order of the requests, of which there are at most 64. What the server had no room or time for is asked
        again by itself."""
        results = yield from self._batch(requests)
        for attempt in range(self.target.max_retries):
            again = [i for i, result in enumerate(results) if isinstance(result, FinTunnelError) and result.transient]
            if not again:
                break
            yield Pause(2.0**attempt)
            try:
                second = yield from self._batch([requests[i] for i in again])
            except FinTunnelError:
                break  # what was answered is kept
            for i, result in zip(again, second, strict=True):
                results[i] = result
        return results

    def complete(self, messages: Sequence[Message], temperature: float, max_tokens: int) -> Steps[Completion]:
        answer = yield self._chat(messages, temperature, max_tokens)
        return completion_of(answer, "finetuned", fallback=False)

    def stream(self, request: NewsRequest | ReportRequest) -> tuple[Call, OwnReader]:
        return Call("/analyze/stream", _body(request)), OwnReader(self.target, request)

    def stream_text(self, messages: Sequence[Message], temperature: float, max_tokens: int) -> tuple[Call, TextReader]:
        return self._chat(messages, temperature, max_tokens, stream=True), TextReader(self.target)

    def check(self) -> Steps[Check]:
        yield Call("/ready", with_json=False)
        answer = yield Call("/v1/models")  # behind the key; its connection is open by now
        try:
            cards = {clean(card.id, self.target.secret): card for card in _Models.model_validate(answer.json).data}
        except ValidationError as error:
            raise self._not_ours(error, answer) from error
        card = cards.get(self.model)
        if card is None:
            raise ConfigurationError(f"服务上没有模型 {self.model}", advice=f"可用的是：{'、'.join(cards)}。")
        return Check(
            backend="finetuned",
            url=self.target.address.url(),
            model=self.model,
            base=card.parent or card.root,
            adapter=None if card.parent is None else card.root,
            models=list(cards),
            round_trip_ms=round(answer.seconds * 1000, 1),
        )

    def _batch(
        self, requests: Sequence[NewsRequest | ReportRequest]
    ) -> Steps[list[NewsAnalysis | ReportAnswer | FinTunnelError]]:
        answer = yield Call("/analyze/batch", {"items": [_body(request) for request in requests]})
        try:
            results = BatchResponse.model_validate(answer.json).results
        except ValidationError as error:
            raise self._not_ours(error, answer) from error
        if len(results) != len(requests):
            raise MalformedAnswerError(f"问了 {len(requests)} 条，答了 {len(results)} 条", request_id=answer.request_id)
        return [
            self._checked(result.analysis, request, answer)
            if result.error is None
            else item_failure(result.error, self.target)
            for request, result in zip(requests, results, strict=True)
        ]

    def _chat(self, messages: Sequence[Message], temperature: float, max_tokens: int, *, stream: bool = False) -> Call:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        return Call("/v1/chat/completions", body | ({"stream": True} if stream else {}))

    def _analysis(self, answer: Answer, request: NewsRequest | ReportRequest) -> NewsAnalysis | ReportAnswer:
        try:
            analysis = _ANALYSIS.validate_python(answer.json)
        except ValidationError as error:
            raise self._not_ours(error, answer) from error
        return self._checked(analysis, request, answer)

    def _checked(
        self, analysis: NewsAnalysis | ReportAnswer | None, request: NewsRequest | ReportRequest, answer: Answer
    ) -> NewsAnalysis | ReportAnswer:
        if analysis is None or analysis.task != request.task:
            given = None if analysis is None else analysis.task
            raise MalformedAnswerError(f"问的是 {request.task}，答的是 {given}", request_id=answer.request_id)
        return analysis

    def _not_ours(self, error: ValidationError, answer: Answer) -> MalformedAnswerError:
        return MalformedAnswerError(
            f"{self.target.address.url()} 的回答不符合约定（{rule_in_chinese(error.errors()[0])}）",
            request_id=answer.request_id,
            advice="那里是同一版本的 fintunnel 服务吗？",
        )


class OwnReader:
    """The events of `/analyze/stream`. Pieces that do not add up to the whole (lost, or sent twice on the way) are no
    answer."""

    def __init__(self, target: Target, request: NewsRequest | ReportRequest) -> None:
        self._target = target
        self._request = request
        self._labels: NewsAnalysis | ReportAnswer | None = None
        self._text = ""
        self.finished = False

    def feed(self, event: ServerEvent) -> Iterator[StreamPart[NewsAnalysis | ReportAnswer]]:
        """
        Raises:
            FinTunnelError: the event reports an error, or does not fit those before it.
        """
        try:
            match event.name:
                case "analysis" if self._labels is None:
                    self._labels = self._of_task(event.data)
                    yield Labels(self._labels)
                case "token" if self._labels is not None:
                    piece = _Token.model_validate_json(event.data).text
                    self._text += piece
                    yield TextPiece(piece)
                case "done" if self._labels is not None:
                    whole = self._of_task(event.data)
                    if _without_text(whole) != _without_text(self._labels) or (_text(whole) or "") != self._text:
                        raise MalformedAnswerError("流里的各段和最后的完整回答对不上", advice="请重试。")
                    self.finished = True
                    yield Done(whole)
                case "error":
                    raise item_failure(ErrorBody.model_validate_json(event.data).error, self._target)
                case "analysis" | "token" | "done":
                    raise MalformedAnswerError("流里的事件次序不对", advice="请重试。")
        except ValidationError as error:
            rule = rule_in_chinese(error.errors()[0])
            raise MalformedAnswerError(f"流里的 {event.name} 事件不符合约定（{rule}）") from error

    def end(self) -> Iterator[StreamPart[NewsAnalysis | ReportAnswer]]:
        """
        Raises:
            ConnectionFailed: the stream broke off.
        """
        if not self.finished:
            raise ConnectionFailed("回答到一半，连接断了", advice="请重试。")
        return iter(())

    def again(self, problem: MalformedAnswerError) -> Steps[list[StreamPart[NewsAnalysis | ReportAnswer]]] | None:
        """None: the server sees to the form of its answers, so asking once more would change nothing."""
        del problem
        return None

    def _of_task(self, data: str) -> NewsAnalysis | ReportAnswer:
        analysis = _ANALYSIS.validate_json(data)
        if analysis.task != self._request.task:
            raise MalformedAnswerError(f"问的是 {self._request.task}，答的是 {analysis.task}")
        return analysis


def _body(request: NewsRequest | ReportRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_defaults=True) | {"task": request.task}


def _text(analysis: NewsAnalysis | ReportAnswer) -> str | None:
    return analysis.rationale if isinstance(analysis, NewsAnalysis) else analysis.answer


def _without_text(analysis: NewsAnalysis | ReportAnswer) -> dict[str, Any]:
    """What cannot have changed while the text was written: token counts and times do."""
    return analysis.model_dump(exclude={"rationale", "answer", "usage", "timing_ms"})

"""Chat completions in OpenAI's shape, which both backends speak. No network here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from fintunnel.completion import Completion
from fintunnel.errors import ConnectionFailed, FinTunnelError, MalformedAnswerError, ServerFailure
from fintunnel.settings import Backend
from fintunnel.transport.call import Answer
from fintunnel.transport.failures import clean, item_failure
from fintunnel.transport.sse import ServerEvent
from fintunnel.transport.target import Target
from fintunnel.wire import ErrorDetail, Usage

__all__ = ["TextReader", "chat_object", "completion_of", "finish_reason", "text_of", "usage_of"]


def completion_of(answer: Answer, backend: Backend, *, fallback: bool) -> Completion:
    """
    Raises:
        FinTunnelError: it has no text.
    """
    return Completion(
        text_of(answer),
        backend=backend,
        model=str(answer.json.get("model") or "")[:200],
        usage=usage_of(answer.json.get("usage")),
        fallback=fallback,
        truncated=finish_reason(answer.json) == "length",
    )


def text_of(answer: Answer) -> str:
    """The text of a chat completion.

    Raises:
        MalformedAnswerError: there is none.
        ServerFailure: the API stopped for lack of resources, which it tells in a 200.
    """
    failure = _stopped(finish_reason(answer.json), answer.request_id)
    if failure is not None:
        raise failure
    try:
        text = answer.json["choices"][0]["message"]["content"]
    except (LookupError, TypeError) as error:
        raise MalformedAnswerError("回答里没有 choices[0].message.content", request_id=answer.request_id) from error
    if not isinstance(text, str) or not text.strip():
        raise MalformedAnswerError("模型返回了空内容", request_id=answer.request_id, advice="请重试。")
    return text.strip()


def finish_reason(completion: Mapping[str, Any]) -> str | None:
    try:
        reason = completion["choices"][0]["finish_reason"]
    except (LookupError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def _stopped(reason: str | None, request_id: str | None) -> FinTunnelError | None:
    if reason == "insufficient_system_resource":
        return ServerFailure("服务出错：推理资源不足，回答中断", request_id=request_id, advice="请稍后再试。")
    if reason == "content_filter":
        return MalformedAnswerError("回答被内容审查拦下了", request_id=request_id, advice="请换一种问法。")
    return None


def usage_of(counts: object) -> Usage:
    """The API's token counts; what it does not count is 0."""
    given = counts if isinstance(counts, dict) else {}
    values = {name: given.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return Usage(**{name: value if type(value) is int and value >= 0 else 0 for name, value in values.items()})


def chat_object(event: ServerEvent, target: Target) -> dict[str, Any] | None:
    """The chunk in an event of a stream; None: the stream is done.

    Raises:
        FinTunnelError: the event reports an error, or is no chunk.
    """
    if event.data.strip() == "[DONE]":
        return None
    try:
        chunk = json.loads(event.data)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError("流里有一个事件不是 JSON") from error
    if not isinstance(chunk, dict):
        raise MalformedAnswerError("流里有一个事件不是 JSON 对象")
    if chunk.get("error"):
        raise _reported(chunk["error"], target)
    failure = _stopped(finish_reason(chunk), None)
    if failure is not None:
        raise failure
    return chunk


def _reported(error: object, target: Target) -> FinTunnelError:
    try:
        return item_failure(ErrorDetail.model_validate(error), target)
    except ValidationError:  # another server's
        message = error.get("message") if isinstance(error, dict) else error
        return ServerFailure(f"服务出错：{clean(str(message), target.secret)}", advice="请稍后再试。")


class TextReader:
    """The pieces of a streamed chat completion."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.finished = False  # the model has ended its answer, or the stream has
        self.chunk: dict[str, Any] = {}  # the last one

    def feed(self, event: ServerEvent) -> Iterator[str]:
        """
        Raises:
            FinTunnelError: the event reports an error, or is no chunk.
        """
        chunk = chat_object(event, self._target)
        if chunk is None:
            self.finished = True
            return
        self.chunk = chunk
        self.finished = self.finished or finish_reason(chunk) is not None
        try:
            choices: Iterable[Any] = chunk["choices"]
            texts = [choice["delta"].get("content") for choice in choices if choice.get("index", 0) == 0]
        except (LookupError, TypeError, AttributeError) as error:
            raise MalformedAnswerError("流里有一个事件不是对话的一段") from error
        # Half a surrogate pair could not be written anywhere.
        yield from (text.encode("utf-8", "ignore").decode() for text in texts if isinstance(text, str) and text)

    def end(self) -> None:
        """
        Raises:
            ConnectionFailed: the stream broke off before the answer's end.
        """
        if not self.finished:
            raise ConnectionFailed("回答到一半，连接断了", advice="请重试。")

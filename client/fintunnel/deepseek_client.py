"""`DeepSeekClient`: one interface over the hosted API and over your own model.

`FINTUNNEL_BACKEND` is read when a client is made and decides which of them is asked. The calls and the types of their
answers are the same, and `answer.model.backend` says who answered. Their addresses and keys are never mixed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import httpx

from fintunnel.backends.choice import Options
from fintunnel.backends.fallback import FAILURES
from fintunnel.backends.hosted_api import HostedApi
from fintunnel.backends.many import Progress
from fintunnel.backends.own_server import OwnServer
from fintunnel.backends.steps import Steps, run
from fintunnel.check import Check
from fintunnel.client_base import ClientBase, with_system
from fintunnel.comparison import Comparison
from fintunnel.completion import Completion
from fintunnel.errors import FinTunnelError, MalformedAnswerError
from fintunnel.in_threads import in_threads
from fintunnel.prompt import Message
from fintunnel.stream_parts import StreamPart
from fintunnel.transport.call import Answer, Budget, Call, Patience
from fintunnel.transport.sender import Sender
from fintunnel.wire import NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest

__all__ = ["DeepSeekClient"]

_T = TypeVar("_T")


class DeepSeekClient(ClientBase):
    """One interface over both backends; `ClientBase` documents the arguments. Safe to share between threads.

    Args:
        http_client: an httpx client of yours, which then stays yours to close.
    """

    def __init__(
        self,
        *,
        fallback_cooldown: float = 60.0,
        http_client: httpx.Client | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(fallback_cooldown, **options)
        choice = self._operations.choice
        self._senders = {False: Sender(choice.backend.target, http_client)}
        if choice.fallback is not None:
            self._senders[True] = Sender(choice.fallback.target, http_client)
        # Agents rarely close a client: its connections go with it. A client that was handed in stays open.
        self._close = weakref.finalize(self, _close, list(self._senders.values()))

    @property
    def url(self) -> str:
        """Where the backend is. May read the connection file or ask ngrok.

        Raises:
            FinTunnelError: it cannot be found.
        """
        return self._operations.choice.backend.target.address.url()

    @overload
    def analyze(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> NewsAnalysis: ...

    @overload
    def analyze(self, request: ReportRequest, *, timeout_seconds: float | None = None) -> ReportAnswer: ...

    def analyze(
        self,
        request: str | NewsRequest | ReportRequest,
        *,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> NewsAnalysis | ReportAnswer:
        """Analyse a piece of news, or answer a question on report passages.

        Args:
            request: a headline, or a request from `fintunnel.wire`.
            timeout_seconds: for this call.
            fields: with a headline, the other fields of `NewsRequest` (`context`, `figures`, `explain` …).

        Raises:
            FinTunnelError: see `fintunnel.errors`. A failure is never returned as if it were an answer.
        """
        asked = self._operations.request(request, fields)
        return self._run(self._operations.analyze(asked), timeout_seconds)

    @overload
    def analyze_many(
        self,
        requests: Iterable[str | NewsRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> list[NewsAnalysis | FinTunnelError]: ...

    @overload
    def analyze_many(
        self,
        requests: Iterable[ReportRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
    ) -> list[ReportAnswer | FinTunnelError]: ...

    @overload
    def analyze_many(
        self,
        requests: Iterable[NewsRequest | ReportRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
    ) -> list[NewsAnalysis | ReportAnswer | FinTunnelError]: ...

    def analyze_many(
        self,
        requests: Iterable[str | NewsRequest | ReportRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> Any:
        """Analyse many. What fails stands as an error in its place, and the rest is kept. After a refused key, an
        empty balance, a wrong setting, or three times nobody answering, the rest is not asked.

        Args:
            requests: headlines or requests.
            on_progress: called in this thread after each result, with the result.
            concurrency: HTTP requests at a time; default: 2 batches to your server, 8 requests to the hosted API.
            timeout_seconds: for each batch of 16 (your server) or each request (hosted API), with all that is asked
                again; default: the client's, and at least 150 for a batch.
            fields: for the headlines among them, the other fields of `NewsRequest`.

        Returns:
            an analysis or a `FinTunnelError` for each request, in their order.
        """
        many = self._operations.many(list(requests), fields, on_progress)
        seconds = many.seconds(timeout_seconds)
        portions = list(many.portions())
        with closing(
            in_threads(
                portions,
                lambda portion: self._run(many.ask(portion), seconds),
                threads=many.concurrency(concurrency),
            )
        ) as done:
            for portion, results in done:
                many.keep(portion.indices, results)
        return many.results

    @overload
    def stream(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> Generator[StreamPart[NewsAnalysis], None, None]: ...

    @overload
    def stream(
        self, request: ReportRequest, *, timeout_seconds: float | None = None
    ) -> Generator[StreamPart[ReportAnswer], None, None]: ...

    def stream(
        self,
        request: str | NewsRequest | ReportRequest,
        *,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> Generator[StreamPart[Any], None, None]:
        """The answer of `analyze` while it is written: `Labels` first, then each `TextPiece`, in the end `Done` with
        the whole. Stop early by closing the generator. From the hosted API it has no probabilities: log-probabilities
        are not asked for here.

        Raises:
            FinTunnelError: before or between the parts. After the first part nothing is asked again.
        """
        asked = self._operations.request(request, fields)
        backends = self._operations.streams(asked)
        for number, backend in enumerate(backends, 1):
            parts = self._stream(backend, asked, self._budget(timeout_seconds))
            try:
                first = next(parts)
            except FAILURES as failure:
                if number == len(backends):
                    raise
                self._operations.cooldown.begin(failure)
                continue
            yield first
            yield from parts
            return

    def complete(
        self,
        prompt: str,
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> Completion:
        """The model's answer to a prompt of yours, as a string that knows who wrote it.

        Args:
            timeout_seconds: for the whole call.
            temperature: 0 to 2.
            max_tokens: of the answer; your server gives at most 2,048.

        Raises:
            FinTunnelError: see `fintunnel.errors`.
        """
        return self.chat([{"role": "user", "content": prompt}], timeout_seconds, temperature, max_tokens)

    def complete_with_system(
        self,
        system_prompt: str,
        user_prompt: str,
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> Completion:
        """The same with a system prompt before it."""
        return self.chat(with_system(system_prompt, user_prompt), timeout_seconds, temperature, max_tokens)

    def chat(
        self,
        messages: Sequence[Message],
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
        *,
        max_retries: int | None = None,
        read_timeout: float | None = None,
    ) -> Completion:
        """The model's answer to a conversation. `max_retries`, `read_timeout` (s): for this call."""
        return self._run(
            self._operations.complete(messages, temperature, max_tokens), timeout_seconds, max_retries, read_timeout
        )

    def stream_chat(
        self,
        messages: Sequence[Message],
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> Generator[str, None, None]:
        """The same in pieces, as they are written. Does not fall back: pieces could not say who wrote them."""
        backend = self._operations.choice.backend
        call, reader = backend.stream_text(messages, temperature, max_tokens)
        with self._senders[call.fallback].events(call, self._budget(timeout_seconds)) as events:
            for event in events:
                yield from reader.feed(event)
                if reader.finished:
                    break
            reader.end()

    @overload
    def compare(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> Comparison[NewsAnalysis]: ...

    @overload
    def compare(self, request: ReportRequest, *, timeout_seconds: float | None = None) -> Comparison[ReportAnswer]: ...

    def compare(
        self, request: str | NewsRequest | ReportRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> Any:
        """Your base model's answer beside the tuned one's, from one request.

        Raises:
            ConfigurationError: the backend has not both.
        """
        return self._run(self._operations.compare(self._operations.request(request, fields)), timeout_seconds)

    def check(self, timeout_seconds: float | None = None) -> Check:
        """Who will answer, with which model, and how far away it is. Asks no model anything.

        Raises:
            FinTunnelError: nobody will, and why.
        """
        return self._run(self._operations.check(), timeout_seconds)

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(
        self,
        steps: Steps[_T],
        timeout_seconds: float | None,
        max_retries: int | None = None,
        read_timeout: float | None = None,
    ) -> _T:
        return run(steps, self._send, self._patience(timeout_seconds, max_retries, read_timeout))

    def _send(self, call: Call, budget: Budget) -> Answer:
        return self._senders[call.fallback].send(call, budget)

    def _stream(
        self, backend: OwnServer | HostedApi, request: NewsRequest | ReportRequest, budget: Budget
    ) -> Generator[StreamPart[Any], None, None]:
        call, reader = backend.stream(request)
        with self._senders[call.fallback].events(call, budget) as events:
            for event in events:
                yield from reader.feed(event)
                if reader.finished:
                    break
            try:
                yield from reader.end()
                return
            except MalformedAnswerError as error:
                again = reader.again(error)
                if again is None:
                    raise
        yield from run(again, self._send, Patience(budget.left))


def _close(senders: list[Sender]) -> None:
    for sender in senders:
        sender.close()

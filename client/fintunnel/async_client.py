"""`AsyncDeepSeekClient`: as `DeepSeekClient`, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

import httpx

from fintunnel.backends.choice import Options
from fintunnel.backends.fallback import FAILURES
from fintunnel.backends.hosted_api import HostedApi
from fintunnel.backends.many import Portion, Progress
from fintunnel.backends.own_server import OwnServer
from fintunnel.backends.steps import Steps, run_async
from fintunnel.check import Check
from fintunnel.client_base import ClientBase, with_system
from fintunnel.comparison import Comparison
from fintunnel.completion import Completion
from fintunnel.errors import FinTunnelError, MalformedAnswerError
from fintunnel.prompt import Message
from fintunnel.stream_parts import StreamPart
from fintunnel.transport.async_sender import AsyncSender
from fintunnel.transport.call import Answer, Budget, Call, Patience
from fintunnel.wire import NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest

__all__ = ["AsyncDeepSeekClient"]

_T = TypeVar("_T")


class AsyncDeepSeekClient(ClientBase):
    """As `DeepSeekClient`, which documents the methods. Belongs to one event loop; close it, or use it as an
    async context manager. Cancelling a call closes its connection, so that the server stops too."""

    def __init__(
        self,
        *,
        fallback_cooldown: float = 60.0,
        http_client: httpx.AsyncClient | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(fallback_cooldown, **options)
        choice = self._operations.choice
        self._senders = {False: AsyncSender(choice.backend.target, http_client)}
        if choice.fallback is not None:
            self._senders[True] = AsyncSender(choice.fallback.target, http_client)

    @overload
    async def analyze(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> NewsAnalysis: ...

    @overload
    async def analyze(self, request: ReportRequest, *, timeout_seconds: float | None = None) -> ReportAnswer: ...

    async def analyze(
        self,
        request: str | NewsRequest | ReportRequest,
        *,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> NewsAnalysis | ReportAnswer:
        asked = self._operations.request(request, fields)
        return await self._run(self._operations.analyze(asked), timeout_seconds)

    @overload
    async def analyze_many(
        self,
        requests: Iterable[str | NewsRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> list[NewsAnalysis | FinTunnelError]: ...

    @overload
    async def analyze_many(
        self,
        requests: Iterable[ReportRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
    ) -> list[ReportAnswer | FinTunnelError]: ...

    @overload
    async def analyze_many(
        self,
        requests: Iterable[NewsRequest | ReportRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
    ) -> list[NewsAnalysis | ReportAnswer | FinTunnelError]: ...

    async def analyze_many(
        self,
        requests: Iterable[str | NewsRequest | ReportRequest],
        *,
        on_progress: Callable[[Progress], object] | None = None,
        concurrency: int | None = None,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> Any:
        many = self._operations.many(list(requests), fields, on_progress)
        seconds = many.seconds(timeout_seconds)
        places = asyncio.Semaphore(many.concurrency(concurrency))

        async def ask(portion: Portion) -> None:
            async with places:
                many.keep(portion.indices, await self._run(many.ask(portion), seconds))

        asking = [asyncio.create_task(ask(portion)) for portion in many.portions()]
        try:
            await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return many.results

    @overload
    def stream(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> AsyncGenerator[StreamPart[NewsAnalysis], None]: ...

    @overload
    def stream(
        self, request: ReportRequest, *, timeout_seconds: float | None = None
    ) -> AsyncGenerator[StreamPart[ReportAnswer], None]: ...

    async def stream(
        self,
        request: str | NewsRequest | ReportRequest,
        *,
        timeout_seconds: float | None = None,
        **fields: Any,
    ) -> AsyncGenerator[StreamPart[Any], None]:
        asked = self._operations.request(request, fields)
        backends = self._operations.streams(asked)
        for number, backend in enumerate(backends, 1):
            async with aclosing(self._stream(backend, asked, self._budget(timeout_seconds))) as parts:
                try:
                    first = await anext(parts)
                except FAILURES as failure:
                    if number == len(backends):
                        raise
                    self._operations.cooldown.begin(failure)
                    continue
                yield first
                async for part in parts:
                    yield part
                return

    async def complete(
        self,
        prompt: str,
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> Completion:
        return await self.chat([{"role": "user", "content": prompt}], timeout_seconds, temperature, max_tokens)

    async def complete_with_system(
        self,
        system_prompt: str,
        user_prompt: str,
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> Completion:
        return await self.chat(with_system(system_prompt, user_prompt), timeout_seconds, temperature, max_tokens)

    async def chat(
        self,
        messages: Sequence[Message],
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
        *,
        max_retries: int | None = None,
        read_timeout: float | None = None,
    ) -> Completion:
        return await self._run(
            self._operations.complete(messages, temperature, max_tokens), timeout_seconds, max_retries, read_timeout
        )

    async def stream_chat(
        self,
        messages: Sequence[Message],
        timeout_seconds: float | None = None,
        temperature: float = 0.7,
        max_tokens: int = 500,
    ) -> AsyncGenerator[str, None]:
        backend = self._operations.choice.backend
        call, reader = backend.stream_text(messages, temperature, max_tokens)
        async with self._senders[call.fallback].events(call, self._budget(timeout_seconds)) as events:
            async for event in events:
                for piece in reader.feed(event):
                    yield piece
                if reader.finished:
                    break
            reader.end()

    @overload
    async def compare(
        self, request: str | NewsRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> Comparison[NewsAnalysis]: ...

    @overload
    async def compare(
        self, request: ReportRequest, *, timeout_seconds: float | None = None
    ) -> Comparison[ReportAnswer]: ...

    async def compare(
        self, request: str | NewsRequest | ReportRequest, *, timeout_seconds: float | None = None, **fields: Any
    ) -> Any:
        asked = self._operations.request(request, fields)
        return await self._run(self._operations.compare(asked), timeout_seconds)

    async def check(self, timeout_seconds: float | None = None) -> Check:
        return await self._run(self._operations.check(), timeout_seconds)

    async def close(self) -> None:
        for sender in self._senders.values():
            await sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(
        self,
        steps: Steps[_T],
        timeout_seconds: float | None,
        max_retries: int | None = None,
        read_timeout: float | None = None,
    ) -> _T:
        return await run_async(steps, self._send, self._patience(timeout_seconds, max_retries, read_timeout))

    async def _send(self, call: Call, budget: Budget) -> Answer:
        return await self._senders[call.fallback].send(call, budget)

    async def _stream(
        self, backend: OwnServer | HostedApi, request: NewsRequest | ReportRequest, budget: Budget
    ) -> AsyncGenerator[StreamPart[Any], None]:
        call, reader = backend.stream(request)
        async with self._senders[call.fallback].events(call, budget) as events:
            async for event in events:
                for part in reader.feed(event):
                    yield part
                if reader.finished:
                    break
            try:
                for part in reader.end():
                    yield part
                return
            except MalformedAnswerError as error:
                again = reader.again(error)
                if again is None:
                    raise
        for part in await run_async(again, self._send, Patience(budget.left)):
            yield part

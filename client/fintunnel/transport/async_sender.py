"""As `sender`, for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

import httpx
from tenacity import AsyncRetrying, RetryCallState

from fintunnel.errors import ConfigurationError, ConnectionFailed, MalformedAnswerError
from fintunnel.transport.call import Answer, Budget, Call
from fintunnel.transport.connection_failures import out_of_time
from fintunnel.transport.exchange import Exchange
from fintunnel.transport.http_clients import checked_url, make_async_client, place_of
from fintunnel.transport.retrying import log_retry, retry_options
from fintunnel.transport.sse import EventReader, EventTooLarge, ServerEvent
from fintunnel.transport.target import Target

__all__ = ["AsyncSender"]

_GRACE = 0.05  # s; after httpx's own timeouts, which close what they opened: a cancelled handshake leaves its socket


class AsyncSender:
    """Belongs to one event loop.

    Args:
        http: a client of the caller's, who closes it.
    """

    def __init__(self, target: Target, http: httpx.AsyncClient | None = None) -> None:
        self.target = target
        self._handed_in = http
        self._own: tuple[str, httpx.AsyncClient] | None = None
        self._moved: list[httpx.AsyncClient] = []
        self._closed = False

    async def send(self, call: Call, budget: Budget) -> Answer:
        """
        Raises:
            FinTunnelError: what the last attempt ended in.
        """
        exchange = Exchange(self.target, call, budget)
        return await self._retrying(exchange)(self._ask, exchange)

    @asynccontextmanager
    async def events(self, call: Call, budget: Budget) -> AsyncIterator[AsyncGenerator[ServerEvent, None]]:
        """The events of a streamed answer. Attempts are repeated until one begins to stream, not afterwards.

        Raises:
            FinTunnelError: no stream began. The iterator raises what ends one before its end.
        """
        exchange = Exchange(self.target, call, budget, streamed=True)
        response: httpx.Response = await self._retrying(exchange)(self._open_stream, exchange)
        try:
            async with aclosing(self._read_events(exchange, response)) as events:
                yield events
        finally:
            await response.aclose()

    async def close(self) -> None:
        self._closed = True
        for http in [*self._moved, *([self._own[1]] if self._own is not None else [])]:
            await http.aclose()

    def _retrying(self, exchange: Exchange) -> AsyncRetrying:
        given = exchange.budget.patience.max_retries
        options = retry_options(self.target.max_retries if given is None else given, exchange.budget.left)
        return AsyncRetrying(before_sleep=self._before_retry, sleep=asyncio.sleep, **options)

    async def _before_retry(self, state: RetryCallState) -> None:
        log_retry(state)
        if state.outcome is not None and isinstance(state.outcome.exception(), ConnectionFailed):
            exchange: Exchange = state.args[0]
            await asyncio.to_thread(self.target.address.look_again, exchange.budget)

    async def _ask(self, exchange: Exchange) -> Answer:
        began = time.monotonic()
        response = await self._open(exchange)
        try:
            content = await self._content(exchange, response)
        finally:
            await response.aclose()
        return exchange.answer(response, content, time.monotonic() - began)

    async def _open_stream(self, exchange: Exchange) -> httpx.Response:
        response = await self._open(exchange)
        if exchange.is_event_stream(response):
            return response
        try:
            content = await self._content(exchange, response)
        finally:
            await response.aclose()
        raise exchange.no_stream(response, content)

    async def _open(self, exchange: Exchange) -> httpx.Response:
        known = self.target.address.known
        address = known if known is not None else await asyncio.to_thread(self.target.address.url, exchange.budget)
        url = checked_url(address, self.target.name)
        http = await self._client(url)
        with self._typed_failures(exchange, place_of(url)):
            async with asyncio.timeout(exchange.budget.left + _GRACE):
                request = exchange.request(url, http.build_request)
                return await http.send(request, stream=True, auth=None, follow_redirects=False)

    async def _content(self, exchange: Exchange, response: httpx.Response) -> bytes:
        content = bytearray()
        async with aclosing(self._chunks(exchange, response)) as chunks:
            async for chunk in chunks:
                content += chunk
        return bytes(content)

    async def _chunks(self, exchange: Exchange, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        host, size, chunks = place_of(response.request.url), 0, response.aiter_bytes()
        exchange.check_encoding(response)
        while True:
            with self._typed_failures(exchange, host):
                async with asyncio.timeout(exchange.budget.left + _GRACE):
                    chunk = await anext(chunks, None)
            if chunk is None:
                return
            size += len(chunk)
            exchange.check_size(size, host)
            exchange.check_time(host)  # bytes that are there at once leave the timeout above no moment to fire
            yield chunk

    async def _read_events(self, exchange: Exchange, response: httpx.Response) -> AsyncGenerator[ServerEvent, None]:
        reader = EventReader()
        try:
            async with aclosing(self._chunks(exchange, response)) as chunks:
                async for chunk in chunks:
                    for event in reader.feed(chunk):
                        yield event
        except EventTooLarge as error:
            raise MalformedAnswerError("回答里有一个事件超过 1 MiB") from error
        for event in reader.end():
            yield event

    @contextmanager
    def _typed_failures(self, exchange: Exchange, host: str) -> Iterator[None]:
        try:
            with exchange.typed_failures(host):
                yield
        except TimeoutError as error:
            raise out_of_time(self.target, host, exchange.budget.seconds) from error

    async def _client(self, url: httpx.URL) -> httpx.AsyncClient:
        if self._handed_in is not None:
            return self._handed_in
        if self._closed:
            raise ConfigurationError("这个客户端已经关闭，请新建一个")
        origin = f"{url.scheme}://{url.netloc.decode()}"
        if self._own is None or self._own[0] != origin:  # after a move the proxy may be another
            if self._own is not None:
                self._moved.append(self._own[1])  # others may still be reading from it
            self._own = (origin, make_async_client(url, http2=self.target.http2))
        return self._own[1]

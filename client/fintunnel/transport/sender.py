"""Sends calls to one backend and waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import httpx
from tenacity import RetryCallState, Retrying

from fintunnel.errors import ConfigurationError, ConnectionFailed, MalformedAnswerError
from fintunnel.transport.call import Answer, Budget, Call
from fintunnel.transport.deadline import ending_at
from fintunnel.transport.exchange import Exchange
from fintunnel.transport.http_clients import checked_url, make_client, place_of
from fintunnel.transport.retrying import log_retry, retry_options
from fintunnel.transport.sse import EventReader, EventTooLarge, ServerEvent
from fintunnel.transport.target import Target

__all__ = ["Sender"]


class Sender:
    """Safe to share between threads.

    Args:
        http: a client of the caller's, who closes it. Its waits for the network are bounded by `timeouts.read`, and
            the deadline is looked at between them.
    """

    def __init__(self, target: Target, http: httpx.Client | None = None) -> None:
        self.target = target
        self._handed_in = http
        self._own: tuple[str, httpx.Client] | None = None
        self._moved: list[httpx.Client] = []
        self._closed = False
        self._making = threading.Lock()

    def send(self, call: Call, budget: Budget) -> Answer:
        """
        Raises:
            FinTunnelError: what the last attempt ended in.
        """
        exchange = Exchange(self.target, call, budget)
        return self._retrying(exchange)(self._ask, exchange)

    @contextmanager
    def events(self, call: Call, budget: Budget) -> Iterator[Iterator[ServerEvent]]:
        """The events of a streamed answer. Attempts are repeated until one begins to stream, not afterwards.

        Raises:
            FinTunnelError: no stream began. The iterator raises what ends one before its end.
        """
        exchange = Exchange(self.target, call, budget, streamed=True)
        response = self._retrying(exchange)(self._open_stream, exchange)
        try:
            yield self._read_events(exchange, response)
        finally:
            response.close()

    def close(self) -> None:
        with self._making:
            self._closed = True
            for http in [*self._moved, *([self._own[1]] if self._own is not None else [])]:
                http.close()

    def _retrying(self, exchange: Exchange) -> Retrying:
        given = exchange.budget.patience.max_retries
        options = retry_options(self.target.max_retries if given is None else given, exchange.budget.left)
        return Retrying(before_sleep=self._before_retry, **options)

    def _before_retry(self, state: RetryCallState) -> None:
        log_retry(state)
        if state.outcome is not None and isinstance(state.outcome.exception(), ConnectionFailed):
            exchange: Exchange = state.args[0]
            self.target.address.look_again(exchange.budget)

    def _ask(self, exchange: Exchange) -> Answer:
        began = time.monotonic()
        with self._response(exchange) as response:
            content = self._content(exchange, response)
        return exchange.answer(response, content, time.monotonic() - began)

    def _open_stream(self, exchange: Exchange) -> httpx.Response:
        response = self._open(exchange)
        if exchange.is_event_stream(response):
            return response
        try:
            content = self._content(exchange, response)
        finally:
            response.close()
        raise exchange.no_stream(response, content)

    @contextmanager
    def _response(self, exchange: Exchange) -> Iterator[httpx.Response]:
        response = self._open(exchange)
        try:
            yield response
        finally:
            response.close()

    def _open(self, exchange: Exchange) -> httpx.Response:
        url = checked_url(self.target.address.url(exchange.budget), self.target.name)
        http = self._client(url)
        with ending_at(exchange.budget.deadline), exchange.typed_failures(place_of(url)):
            request = exchange.request(url, http.build_request)
            return http.send(request, stream=True, auth=None, follow_redirects=False)

    def _content(self, exchange: Exchange, response: httpx.Response) -> bytes:
        content = bytearray()
        for chunk in self._chunks(exchange, response):
            content += chunk
        return bytes(content)

    def _chunks(self, exchange: Exchange, response: httpx.Response) -> Generator[bytes, None, None]:
        host, size, chunks = place_of(response.request.url), 0, response.iter_bytes()
        exchange.check_encoding(response)
        while True:
            with ending_at(exchange.budget.deadline), exchange.typed_failures(host):
                chunk = next(chunks, None)
            if chunk is None:
                return
            size += len(chunk)
            exchange.check_size(size, host)
            exchange.check_time(host)
            yield chunk

    def _read_events(self, exchange: Exchange, response: httpx.Response) -> Iterator[ServerEvent]:
        reader = EventReader()
        try:
            for chunk in self._chunks(exchange, response):
                yield from reader.feed(chunk)
        except EventTooLarge as error:
            raise MalformedAnswerError("回答里有一个事件超过 1 MiB") from error
        yield from reader.end()

    def _client(self, url: httpx.URL) -> httpx.Client:
        if self._handed_in is not None:
            return self._handed_in
        origin = f"{url.scheme}://{url.netloc.decode()}"
        with self._making:
            if self._closed:
                raise ConfigurationError("这个客户端已经关闭，请新建一个")
            if self._own is None or self._own[0] != origin:  # after a move the proxy may be another
                if self._own is not None:
                    self._moved.append(self._own[1])  # another thread may still be reading from it
                self._own = (origin, make_client(url, http2=self.target.http2))
            return self._own[1]

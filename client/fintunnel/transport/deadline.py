"""A connection pool whose waiting ends at a deadline, whatever trickles in.

httpx's timeouts begin anew with every byte that arrives, so a server (or a queue that sends keep-alive bytes) can
stretch a call without end. Here every wait for the network gets what is left until the deadline. The asynchronous
client needs nothing of this: it is cancelled.

Built on httpcore's public parts, which httpx itself is built on; httpx's own transport cannot be given a backend.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from fintunnel.transport.surplus import counting_reads, note_read, refuse_surplus

__all__ = ["DeadlineBackend", "DeadlineTransport", "core_request", "ending_at", "httpx_errors"]

_deadline: ContextVar[float | None] = ContextVar("fintunnel_deadline", default=None)


@contextmanager
def ending_at(deadline: float) -> Iterator[None]:
    """Inside, this thread's reads and writes over a `DeadlineTransport` end at `deadline` (`time.monotonic()`)."""
    before = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(before)


def _left(timeout: float | None, expired: type[httpcore.TimeoutException]) -> float | None:
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise expired("the deadline of the whole call has passed")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        note_read()
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens sockets that heed `ending_at`."""

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Each address of the host in turn, all within the timeout; the system's resolver knows none."""
        ends = None if timeout is None else time.monotonic() + timeout
        try:
            addresses = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in dict.fromkeys(map(str, addresses)):
            left = _left(None if ends is None else max(ends - time.monotonic(), 0.001), httpcore.ConnectTimeout)
            try:
                return _Stream(self._sockets.connect_tcp(address, port, left, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class DeadlineTransport(httpx.BaseTransport):
    """Hands httpx's requests to an httpcore pool with a `DeadlineBackend`."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with httpx_errors(), counting_reads() as reads:
            response = self._pool.handle_request(core_request(request))
        try:
            refuse_surplus(reads, response.extensions)
        except httpx.RemoteProtocolError:
            response.close()  # not read to its end: the connection goes with it
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with httpx_errors():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


def core_request(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


@contextmanager
def httpx_errors() -> Iterator[None]:
    """httpcore's failures as httpx's, whose names are the same."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error

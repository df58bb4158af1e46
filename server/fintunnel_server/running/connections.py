"""Bounds on a connection: how many there may be, how long a request may take to arrive and an answer to be read, how
large its head may be. uvicorn bounds none of these before a request has arrived.
"""

from __future__ import annotations

import asyncio
import http
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fintunnel.wire import ErrorCode
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fintunnel_server.api_errors import ApiError, error_headers, numbered
from fintunnel_server.running.logs import RareLog
from fintunnel_server.security.headers import SECURITY_HEADERS

__all__ = ["BoundedProtocol", "ConnectionLimits"]

_MOST_BYTES = 32 * 2**20  # of one request as it arrives, frames of chunks and what is thrown away included
_log = RareLog("fintunnel.connections", seconds=60.0)


class _Refused(Exception):
    """Raised in a callback it stops the parser where it is: nothing after it is read as anything."""


@dataclass(frozen=True)
class ConnectionLimits:
    """`most`: connections at once; `request_seconds`: for a whole request to arrive, and for a connection to begin one;
    `unread_seconds`: for a caller to read what was written; `head_bytes`: of request line and headers."""

    most: int = 512
    request_seconds: float = 30.0
    unread_seconds: float = 60.0
    head_bytes: int = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn makes one for each connection."""

    limits = ConnectionLimits()
    count_refusal: Callable[[str], None] = staticmethod(lambda _: None)
    waiting: dict[BoundedProtocol, None]
    """connections whose request has not arrived whole, the oldest first"""

    @classmethod
    def bounded_by(cls, limits: ConnectionLimits, count_refusal: Callable[[str], None]) -> type[BoundedProtocol]:
        """`count_refusal` is told the error code of each."""
        bounds = {"limits": limits, "count_refusal": staticmethod(count_refusal), "waiting": {}}
        return type(cls.__name__, (cls,), bounds)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._arriving: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_head = False
        self._begun = False
        self._upgrade = False
        self._why = ApiError(400, ErrorCode.INVALID_HTTP, "不是有效的 HTTP 请求。")
        self._heads = 0
        self._body_bytes = 0
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # whatever waits to be read is known, and timed
        if len(self.connections) > self.limits.most:
            # Whoever has asked for nothing yet makes room; else idle strangers could lock everybody out.
            given_up = next(iter(self.waiting), self)
            given_up.give_up()
            if given_up is self:
                return
        self.waiting[self] = None
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._upgrade:
            return  # past a head that asks for an upgrade the parser tells no body from a next request
        if self._arriving is None and self.cycle is not None and self.cycle.response_complete:
            self._expect_request()  # the next one begins on a connection that was kept
        head = self._heads
        if self._begun and not self._in_head:
            self._body_bytes += len(data)
        super().data_received(data)
        if self._begun and self._body_bytes > _MOST_BYTES:
            _log.warning("a request is larger than %d bytes", _MOST_BYTES)
            self.transport.abort()
        if self._in_head:
            # The parser keeps a head to itself until it is whole. One that began in this piece began after the last
            # empty line, if there is one: what came before it was another request.
            self._head_bytes += len(data) if head == self._heads else len(data.rpartition(b"\r\n\r\n")[2])
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(self._head_too_large())

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # Nobody's client asks again before it was answered; whoever does could have thousands of requests kept.
            raise _Refused
        super().on_message_begin()
        self._begun = self._in_head = True
        self._heads += 1
        self._body_bytes = 0
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes after a body in chunks is no header of ours
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.limits.head_bytes:
            self._why = self._head_too_large()
            raise _Refused
        self._upgrade = self.parser.should_upgrade()
        if self._upgrade and any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self._why = ApiError(400, ErrorCode.INVALID_HTTP, "这里不支持协议升级（Upgrade）。")
            raise _Refused
        super().on_headers_complete()
        if self._upgrade:
            self.cycle.keep_alive = False
        if self.scope["http_version"] == "1.0" and isinstance(self.cycle, RequestResponseCycle):
            self.cycle.__class__ = _OpenEndedCycle

    def on_message_complete(self) -> None:
        self._begun = False
        self._cancel_arriving()
        self.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self.waiting[self] = None

    def give_up(self) -> None:
        """Another one needs the place."""
        self.waiting.pop(self, None)
        if self.cycle is not None and not self._begun:  # kept after an answer: its owner expects nothing
            self.transport.close()
        else:
            self._refuse(ApiError(503, ErrorCode.TOO_MANY_CONNECTIONS, "连接太多，请稍后再试。", retry_after=5.0))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self.limits.unread_seconds, self._give_up_reader)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        del msg  # uvicorn's English, without an id
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # an answer is under way: nothing may be written between its pieces
            return
        self._refuse(self._why)

    # --- when it takes too long ---------------------------------------------------------------------

    def _expect_request(self) -> None:
        self._cancel_arriving()
        self._arriving = self.loop.call_later(self.limits.request_seconds, self._give_up_request)

    def _give_up_request(self) -> None:
        self._arriving = None
        if self.transport.is_closing():
            return
        answered = self.cycle is not None and self.cycle.response_complete and not self._in_head
        if not self._begun or answered:  # nothing was asked, or only the rest of a body that nobody reads is missing
            self.transport.close()
            return
        message = f"请求在 {self.limits.request_seconds:g} 秒内没有传完。"
        self._refuse(ApiError(408, ErrorCode.REQUEST_TOO_SLOW, message))

    def _give_up_reader(self) -> None:
        _log.warning("an answer was not read within %g seconds", self.limits.unread_seconds)
        self.transport.abort()

    def _stop_timers(self) -> None:
        self._cancel_arriving()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cancel_arriving(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _head_too_large(self) -> ApiError:
        return ApiError(431, ErrorCode.HEAD_TOO_LARGE, f"请求头超过 {self.limits.head_bytes} 字节的上限。")

    def _refuse(self, error: ApiError) -> None:
        """The contract's error body, without the app; nothing more is read."""
        if self.transport.is_closing():
            return
        number = f"req-{uuid.uuid4().hex}"
        _log.warning(f"refused before the app: {error.code.value}", request_id=number)
        self._cancel_arriving()
        self.count_refusal(error.code.value)
        cycle = self.cycle
        if cycle is None or not cycle.response_started or cycle.response_complete:
            self.transport.write(_answer(error, number))
        self._unread = self._unread or self.loop.call_later(self.limits.unread_seconds, self._give_up_reader)
        self.transport.close()


class _OpenEndedCycle(RequestResponseCycle):
    """An answer of unknown length to HTTP/1.0, which knows no chunks: it ends with the connection."""

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message.get("headers", [])):
                self.chunked_encoding = False
                self.expected_content_length = sys.maxsize
        elif message["type"] == "http.response.body" and self.expected_content_length > 2**62:
            if not message.get("more_body", False):
                self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def _answer(error: ApiError, number: str) -> bytes:
    content = numbered(error, number).model_dump_json().encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(content)),
        "X-Request-ID": number,
        "Connection": "close",
        **error_headers(error),
        **SECURITY_HEADERS,
    }
    lines = [f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content

"""A loopback server that misbehaves on purpose, byte for byte as a test says."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 20.0  # s; nothing here lasts longer, whatever the client does


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: Any


class Line:
    """One connection, as a behaviour sees it."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self.socket = connection
        self._over = over

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, interval: float) -> None:
        """Byte by byte, until the client is gone or the test is over."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            self.wait(interval)

    def wait(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise ConnectionError("the test is over")

    def next_request(self) -> Request | None:
        """On a connection that stays open; None: the client has closed it."""
        return _read(self.socket)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        raise ConnectionError("reset")


Behaviour = Callable[[Line, Request], object]


@dataclass
class MisbehavingServer:
    """`behaviours` are used request by request, the last one again and again. After each the connection is closed."""

    behaviours: list[Behaviour]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def answer(status: int, body: bytes, *, headers: dict[str, str] | None = None) -> bytes:
    given = {"Content-Type": "application/json", "Connection": "close", **(headers or {})}
    given["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


def event_stream(*parts: bytes) -> bytes:
    """A chunked answer, each part a chunk, with its end."""
    return stream_head() + b"".join(map(chunk, parts)) + chunk(b"")


def stream_head() -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@contextmanager
def misbehaving_server(
    *behaviours: Behaviour, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> Iterator[MisbehavingServer]:
    """`tls`: of a server. `greeting`: all that a connection gets, before anything was asked."""
    state = MisbehavingServer(list(behaviours))
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    state.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    serving: list[threading.Thread] = []

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if over.is_set():
                connection.close()
                return
            thread = threading.Thread(target=serve, args=[connection])
            thread.start()
            serving.append(thread)

    def serve(connection: socket.socket) -> None:
        connection.settimeout(_LONGEST)
        with suppress(OSError), connection:
            if greeting:
                connection.sendall(greeting)
                return
            line = connection if tls is None else tls.wrap_socket(connection, server_side=True)
            with line:
                request = _read(line)
                if request is None:
                    return
                state.requests.append(request)
                state.times.append(time.monotonic())
                behave = state.behaviours.pop(0) if len(state.behaviours) > 1 else state.behaviours[0]
                behave(Line(line, over), request)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield state
    finally:
        over.set()
        socket.create_connection(listener.getsockname()).close()  # wakes it
        accepting.join()
        listener.close()
        for thread in serving:
            thread.join(_LONGEST)


def _read(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65_536)
        if not received:
            return None
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    return Request(first.split(" ")[1], headers, json.loads(body) if body else None)


def always(data: bytes) -> Behaviour:
    def behave(line: Line, request: Request) -> None:
        del request
        line.send(data)

    return behave

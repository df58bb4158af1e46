"""A server that speaks HTTP/2 alone, over TLS, and answers every request with the same JSON."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from h2.exceptions import ProtocolError


@dataclass
class Http2Server:
    url: str
    ca: trustme.CA
    paths: list[str] = field(default_factory=list)
    connections: int = 0


@contextmanager
def http2_server(body: bytes) -> Iterator[Http2Server]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    state = Http2Server(f"https://127.0.0.1:{listener.getsockname()[1]}", authority)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                state.connections += 1
                with suppress(OSError, ProtocolError), context.wrap_socket(connection, server_side=True) as line:
                    line.settimeout(10)
                    _answer(line, body, state)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield state
    finally:
        with suppress(OSError):  # Windows: a listener has nothing to shut down, and closing it ends the wait
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(15)


def _answer(line: ssl.SSLSocket, body: bytes, state: Http2Server) -> None:
    http = H2Connection(H2Configuration(client_side=False))
    http.initiate_connection()
    line.sendall(http.data_to_send())
    while data := line.recv(65_536):
        for event in http.receive_data(data):
            if isinstance(event, RequestReceived):
                state.paths.append(dict(event.headers)[b":path"].decode())
            elif isinstance(event, StreamEnded):
                http.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/json")])
                http.send_data(event.stream_id, body, end_stream=True)
        line.sendall(http.data_to_send())

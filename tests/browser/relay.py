"""A tunnel that can die: passes bytes on to a server until it is cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Listens on loopback at `url`, in threads of its own."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, args=(self._listener,))]
        self._threads[0].start()

    def cut(self) -> None:
        """Every connection breaks, and nobody listens any more."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
        self._sockets, self._threads = [], []

    def mend(self) -> None:
        """Listens again, at the same address."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._threads = [threading.Thread(target=self._accept, args=(self._listener,))]
        self._threads[0].start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                outer, _ = listener.accept()
            except OSError:
                return
            inner = socket.create_connection(("127.0.0.1", self._target_port))
            self._sockets += [outer, inner]
            for source, sink in ((outer, inner), (inner, outer)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay_to(url: str) -> Iterator[Relay]:
    relay = Relay(int(url.rpartition(":")[2]))
    try:
        yield relay
    finally:
        relay.cut()

"""A loopback teacher that answers as a test says, and remembers what it was asked and how many at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.client.fault_server import Reply
from tests.loopback import QuietHandler, serving


@dataclass
class Asked:
    """One request: its place in the order of arrival, from 0, its body, and the user's message in it."""

    number: int
    body: dict[str, Any]

    @property
    def text(self) -> str:
        return str(self.body["messages"][1]["content"])


Answering = Reply | Callable[[Asked], Reply]


@dataclass
class TeacherServer:
    """`bodies`: as they came over the wire; `times`: of arrival, in seconds. `answer` may be exchanged."""

    answer: Answering
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def forget(self) -> None:
        """Start a new run: what was asked before is forgotten."""
        for seen in (self.bodies, self.headers, self.paths, self.times):
            seen.clear()

    @property
    def questions(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@contextmanager
def teacher_server(answer: Answering, *, delay: float = 0.0) -> Iterator[TeacherServer]:
    """`delay`: seconds before each answer."""
    state = TeacherServer(answer)
    lock = threading.Lock()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                number = len(state.bodies)
                state.bodies.append(body)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                state.paths.append(self.path)
                state.times.append(time.monotonic())
                state.in_flight += 1
                state.most_in_flight = max(state.most_in_flight, state.in_flight)
            try:
                time.sleep(delay)
                given = state.answer
                reply = given if isinstance(given, Reply) else given(Asked(number, json.loads(body)))
            finally:
                with lock:
                    state.in_flight -= 1
            try:
                self._send(reply)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up, as it should

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.drips))
            self.end_headers()
            for _ in range(reply.drips):
                time.sleep(reply.drip)
                self.wfile.write(b"\n")
                self.wfile.flush()
            self.wfile.write(reply.body)

    with serving(Handler) as state.url:
        yield state

"""The fault matrix: what can go wrong between a client and its backend, and what the caller has to see.

Run as a program it prints the matrix as a table: `python -m tests.client.faults`.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fintunnel.errors import (
    AuthenticationError,
    ConnectionFailed,
    FinTunnelError,
    InvalidRequestError,
    MalformedAnswerError,
    QuotaError,
    RateLimitError,
    RequestTimeout,
    ServerFailure,
    TunnelError,
)

from tests.client.good_answers import good, good_body, good_events
from tests.client.misbehaving_server import (
    Behaviour,
    Line,
    Request,
    always,
    answer,
    chunk,
    event_stream,
    stream_head,
)

BACKENDS = ("finetuned", "deepseek")
CALLS = ("analyze", "stream")
OK = "ok"
Outcome = type[FinTunnelError] | str

PAGE = b"<!DOCTYPE html><html><body>offline</body></html>"


@dataclass(frozen=True)
class Fault:
    """`behave(backend, call)`: what the server does, request by request. `outcome`: what the caller sees, `OK` for a
    whole and right answer. `attempts`: how many requests the server sees at max_retries=2."""

    name: str
    behave: Callable[[str, str], list[Behaviour]]
    outcome: Outcome
    attempts: int | None = None
    code: str | None = None
    hosted: Outcome | None = None  # where it is another for the hosted API
    hosted_attempts: int | None = None
    streamed: Outcome | None = None  # where it is another for a stream
    odd_attempts: Mapping[str, int] = field(default_factory=dict)  # by "backend call" or by call
    least_wait: float = 0.0  # s, before the second attempt

    def expected(self, backend: str, call: str) -> Outcome:
        if call == "stream" and self.streamed is not None:
            return self.streamed
        return self.hosted if backend == "deepseek" and self.hosted is not None else self.outcome

    def expected_attempts(self, backend: str, call: str) -> int | None:
        for name in (f"{backend} {call}", call):
            if name in self.odd_attempts:
                return self.odd_attempts[name]
        return self.hosted_attempts if backend == "deepseek" and self.hosted_attempts is not None else self.attempts


def _every_time(*behaviours: Behaviour) -> Callable[[str, str], list[Behaviour]]:
    def behave(backend: str, call: str) -> list[Behaviour]:
        del backend, call
        return list(behaviours)

    return behave


def _then_good(*behaviours: Behaviour) -> Callable[[str, str], list[Behaviour]]:
    return lambda backend, call: [*behaviours, always(good(backend, call))]


def _status(status: int, headers: dict[str, str] | None = None) -> Behaviour:
    body = {"error": {"message": "why", "type": "t", "code": "some_code", "param": None, "request_id": "req-1"}}
    return always(answer(status, json.dumps(body).encode(), headers=headers))


def _page(status: int, code: str | None = None) -> Behaviour:
    headers = {"Content-Type": "text/html"} | ({"Ngrok-Error-Code": code} if code else {})
    return always(answer(status, PAGE, headers=headers))


def _reset(line: Line, request: Request) -> None:
    del request
    line.reset()


def _silent(line: Line, request: Request) -> None:
    del request
    line.wait(15)


def _slow_head(line: Line, request: Request) -> None:
    del request
    line.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 300, 0.05)


def _slow_body(backend: str, call: str) -> list[Behaviour]:
    whole = good(backend, call)
    head, _, body = whole.partition(b"\r\n\r\n")

    def behave(line: Line, request: Request) -> None:
        del request
        line.send(head + b"\r\n\r\n")
        line.drip(body, 0.05)

    return [behave]


def _keep_alive(backend: str, call: str) -> list[Behaviour]:
    """As the hosted API while a request is queued: blank lines, or comments in a stream; here without end."""
    del backend

    def behave(line: Line, request: Request) -> None:
        del request
        if call == "stream":
            line.send(stream_head())
        else:
            line.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(300):
            line.send(chunk(b": keep-alive\n\n" if call == "stream" else b"\n"))
            line.wait(0.05)

    return [behave]


def _keep_alive_then_good(backend: str, call: str) -> list[Behaviour]:
    def behave(line: Line, request: Request) -> None:
        del request
        head = stream_head() if call == "stream" else stream_head().replace(b"text/event-stream", b"application/json")
        line.send(head)
        for _ in range(3):
            line.send(chunk(b": keep-alive\n\n" if call == "stream" else b"\n"))
            line.wait(0.02)
        parts = good_events(backend) if call == "stream" else [good_body(backend)]
        line.send(b"".join(map(chunk, parts)) + chunk(b""))

    return [behave]


def _cut(backend: str, call: str) -> list[Behaviour]:
    """The connection ends in the middle of the answer, every time."""
    whole = good(backend, call)
    return [always(whole[: whole.index(b"\r\n\r\n") + 4 + (len(whole) - whole.index(b"\r\n\r\n")) // 2])]


def _truncated(backend: str, call: str) -> list[Behaviour]:
    """Half of the JSON, with a length that says it were all; in a stream, an end after half of the events."""
    if call == "stream":
        events = good_events(backend)
        return [always(event_stream(*events[: len(events) // 2]))]
    body = good_body(backend)
    return [always(answer(200, body[: len(body) // 2]))]


def _split(backend: str, call: str) -> list[Behaviour]:
    """Every byte in a packet of its own."""
    whole = good(backend, call)

    def behave(line: Line, request: Request) -> None:
        del request
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.drip(whole, 0.0)

    return [behave]


def _twice(backend: str, call: str) -> list[Behaviour]:
    """Each event of the stream comes twice; a plain answer, too."""
    if call == "stream":
        return [always(event_stream(*(part for event in good_events(backend) for part in (event, event))))]
    return [always(answer(200, good_body(backend) * 2))]


def _retry_after(value: str, header: str = "Retry-After") -> Callable[[str, str], list[Behaviour]]:
    return _then_good(_status(429, {header: value}))


FAULTS = [
    Fault("reset", _every_time(_reset), ConnectionFailed, 3),
    Fault("reset, then well", _then_good(_reset), OK, 2),
    Fault("accepts and is silent", _every_time(_silent), RequestTimeout, 1),
    Fault("headers trickle without end", _every_time(_slow_head), RequestTimeout, 1),
    Fault("body trickles", _slow_body, RequestTimeout, 1),
    Fault("keep-alive bytes without end", _keep_alive, RequestTimeout, 1),
    Fault("keep-alive bytes, then the answer", _keep_alive_then_good, OK, 1),
    Fault("connection cut in the answer", _cut, ConnectionFailed, 3, odd_attempts={"stream": 1}),
    Fault("answer cut short", _truncated, MalformedAnswerError, 1, streamed=ConnectionFailed),
    Fault("split at every byte", _split, OK, 1),
    Fault("everything twice", _twice, MalformedAnswerError, 1, odd_attempts={"deepseek stream": 2}),
    Fault("not HTTP", _every_time(always(b"220 smtp ready\r\n\r\n")), ConnectionFailed, 3),
    Fault("broken gzip", _every_time(always(answer(200, b"\x1f\x8bnot", headers={"Content-Encoding": "gzip"}))),
          MalformedAnswerError, 1),
    Fault("gzip bomb", _every_time(always(answer(200, gzip.compress(b" " * (40 << 20)),
                                                   headers={"Content-Encoding": "gzip"}))), MalformedAnswerError, 1),
    Fault("another service's JSON", _every_time(always(answer(200, b'{"hello": 1}'))), MalformedAnswerError, 1,
          odd_attempts={"deepseek analyze": 2}),
    Fault("an array", _every_time(always(answer(200, b"[1]"))), MalformedAnswerError, 1),
    Fault("nested without end", _every_time(always(answer(200, b"[" * 100_000))), MalformedAnswerError, 1),
    Fault("empty body", _every_time(always(answer(200, b""))), MalformedAnswerError, 1),
    Fault("web page, 200", _every_time(_page(200)), TunnelError, 1),
    Fault("web page, 404", _every_time(_page(404)), TunnelError, 1, hosted=InvalidRequestError),
    Fault("web page, 502", _every_time(_page(502)), TunnelError, 3, hosted=ServerFailure),
    Fault("redirect", _every_time(_status(307, {"Location": "http://127.0.0.1:9/steal"})), InvalidRequestError, 1),
    *(Fault(f"ngrok {number}, {status}", _every_time(_page(status, f"ERR_NGROK_{number}")), TunnelError,
            attempts, f"ERR_NGROK_{number}", hosted=hosted, hosted_attempts=hosted_attempts)
      for number, status, attempts, hosted, hosted_attempts in [
          (3200, 404, 3, InvalidRequestError, 1), (8012, 502, 3, ServerFailure, 3),
          (3004, 502, 3, ServerFailure, 3), (702, 429, 3, RateLimitError, 3), (734, 429, 3, RateLimitError, 3),
          (725, 403, 1, AuthenticationError, 1), (727, 403, 1, AuthenticationError, 1),
          (108, 400, 1, InvalidRequestError, 1), (334, 400, 1, InvalidRequestError, 1),
          (4018, 401, 1, AuthenticationError, 1), (6024, 200, 1, TunnelError, 1),
          (9999, 500, 3, ServerFailure, 3)]),
    *(Fault(f"{status}", _every_time(_status(status)), kind, attempts, "some_code")
      for status, kind, attempts in [
          (400, InvalidRequestError, 1), (401, AuthenticationError, 1), (402, QuotaError, 1),
          (403, AuthenticationError, 1), (404, InvalidRequestError, 1), (408, InvalidRequestError, 3),
          (409, InvalidRequestError, 3), (413, InvalidRequestError, 1), (422, InvalidRequestError, 1),
          (429, RateLimitError, 3), (500, ServerFailure, 3), (502, ServerFailure, 3), (503, ServerFailure, 3),
          (504, ServerFailure, 3)]),
    *(Fault(f"{status}, then well", _then_good(_status(status)), OK, 2)
      for status in (408, 409, 429, 500, 502, 503, 504)),
    Fault("402 that asks to be retried", _every_time(_status(402, {"x-should-retry": "true"})), QuotaError, 1),
    Fault("500 that asks not to be", _every_time(_status(500, {"x-should-retry": "false"})), ServerFailure, 1),
    Fault("429, Retry-After in seconds", _retry_after("0.2"), OK, 2, least_wait=0.2),
    Fault("429, Retry-After in milliseconds", _retry_after("200", "Retry-After-Ms"), OK, 2, least_wait=0.2),
    Fault("429, Retry-After as a date", _retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), OK, 2),
    Fault("429, Retry-After past the deadline", _every_time(_status(429, {"Retry-After": "600"})), RateLimitError, 1),
    Fault("error without a body", _every_time(always(answer(500, b""))), ServerFailure, 3),
    Fault("error of another shape", _every_time(always(answer(500, b'{"error": "text"}'))), ServerFailure, 3),
]  # fmt: skip


def main() -> None:  # prints: it is a program
    from tests.client.cells import run_cell

    columns = [(backend, call) for backend in BACKENDS for call in CALLS]
    print("| fault | " + " | ".join(f"{backend} `{call}`" for backend, call in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for fault in FAULTS:
        cells = []
        for backend, call in columns:
            seen = {run_cell(fault, backend, call, asynchronous=each) for each in (False, True)}
            cells.append(" / ".join(sorted(f"{cell.outcome} ({cell.attempts})" for cell in seen)))
        print(f"| {fault.name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

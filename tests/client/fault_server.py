"""A loopback server that answers as a test says, for backends that are not ours or do not behave."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import QuietHandler, serving


@dataclass
class Reply:
    """`drip`: seconds between single bytes sent before the body; such bytes keep a read timeout from firing."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0
    drips: int = 0


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FaultServer:
    """`replies` are used in order, the last one again and again."""

    replies: list[Reply]
    seen: list[Seen] = field(default_factory=list)
    url: str = ""


def chat_reply(content: str) -> Reply:
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    return Reply(body=json.dumps(body).encode())


@contextmanager
def fault_server(*replies: Reply) -> Iterator[FaultServer]:
    state = FaultServer(list(replies))

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k.lower(): v for k, v in self.headers.items()}
            state.seen.append(Seen(self.path, headers, json.loads(body) if body else None))
            reply = state.replies.pop(0) if len(state.replies) > 1 else state.replies[0]
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.drips))
            self.end_headers()
            try:
                for _ in range(reply.drips):
                    time.sleep(reply.drip)
                    self.wfile.write(b"\n")
                    self.wfile.flush()
                self.wfile.write(reply.body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up, as it should

    with serving(Handler) as state.url:
        yield state

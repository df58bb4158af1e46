"""A loopback server that speaks OpenAI's protocol as vLLM, llama.cpp or a plain API does, or breaks it as a test says.

Its model is a table: after a text that ends so come these tokens. A word or a sign is a token.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.loopback import QuietHandler, serving

NEWS_TOKENS: dict[str, dict[str, float]] = {
    "Thurs": {"day": 0.9, "Thurs": 0.1},
    '{"impact":"': {"low": 0.1, "medium": 0.2, "high": 0.5, "huge": 0.2},
    '"direction":"': {"b": 0.4, "neutral": 0.2, "up": 0.4},
    '"direction":"b': {"ullish": 0.75, "earish": 0.25},
    '"rationale":"': {"利率": 1.0},
    "利率": {"上行": 1.0},
    "上行": {"。": 1.0},
    "。": {'"}': 1.0},
}
AFRESH = "Sunday is the first day."


@dataclass
class Reply:
    """An answer in the model's place. `drip`: seconds before each piece of the body; `abrupt`: the connection is cut
    after the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] | None = None
    drip: float = 0.0
    abrupt: bool = False


@dataclass
class Upstream:
    """`continues`: with vLLM's fields, always (llama.cpp), never, or (a liar) never but with the tokens that a
    continuation would have. `keeps_schema`: of a `response_format` whose properties are enumerations. `accepts`: the
    optional fields that do not get 422; None accepts and ignores any. `faults`: answers in its place, used up in
    order. `text`: what it writes afresh."""

    continues: Literal["fields", "always", "never"] = "fields"
    most_logprobs: int = 20
    constraint: str | None = "structured_outputs"
    keeps_schema: bool = False
    counts: bool = True
    streams: bool = True
    accepts: set[str] | None = None
    tokens: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: dict(NEWS_TOKENS))
    text: str = AFRESH
    model_list: Reply | None = None
    api_key: str | None = None
    drip: float = 0.0
    faults: list[Reply | None] = field(default_factory=list)
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    lists: int = 0
    pieces_sent: int = 0
    disconnected: threading.Event = field(default_factory=threading.Event)
    in_flight: int = 0
    most_in_flight: int = 0
    cards: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"id": "tuned", "max_model_len": None, "parent": "plain"},
            {"id": "plain", "max_model_len": 2048},
        ]
    )

    def forget(self) -> None:
        for seen in (self.bodies, self.headers, self.times):
            seen.clear()
        self.pieces_sent = 0
        self.most_in_flight = 0

    def continued(self, body: Mapping[str, Any]) -> str | None:
        """The beginning of an answer that a request goes on with; None where it is answered afresh."""
        last = body["messages"][-1]
        told = body.get("continue_final_message") is True and body.get("add_generation_prompt") is False
        if last["role"] != "assistant" or self.continues == "never" or (self.continues == "fields" and not told):
            return None
        return str(last["content"])

    def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        """Each message has a header of 3 tokens and an end of 2; a new turn begins with a header."""
        words = sum(len(_tokens(message["content"])) + 5 for message in body["messages"])
        return words + (3 if self.continued(body) is None else -2)

    def next_tokens(self, text: str) -> Mapping[str, float]:
        endings = [ending for ending in self.tokens if text.endswith(ending)]
        return self.tokens[max(endings, key=len)] if endings else {"": 1.0}

    def write(self, body: Mapping[str, Any]) -> list[str]:
        """The pieces of an answer."""
        begun = self.continued(body)
        chosen = self._chosen(body)
        if chosen is not None:
            return [chosen]
        if begun is None:
            return [piece for piece in re.findall(r"\s*\S+", self.text)][: body["max_tokens"]]
        pieces: list[str] = []
        while len(pieces) < body["max_tokens"]:
            given = self.next_tokens(begun + "".join(pieces))
            token = max(given, key=given.__getitem__)
            if not token:
                break
            pieces.append(token)
        return pieces

    def _chosen(self, body: Mapping[str, Any]) -> str | None:
        if self.constraint == "structured_outputs" and "structured_outputs" in body:
            return str(body["structured_outputs"]["choice"][-1])
        if self.keeps_schema and "response_format" in body:  # the first of each property's values
            properties = body["response_format"]["json_schema"]["schema"]["properties"]
            return json.dumps({name: value["enum"][0] for name, value in properties.items()}, separators=(",", ":"))
        if self.constraint == "guided_choice" and "guided_choice" in body:
            return str(body["guided_choice"][-1])
        return None

    def refuses(self, body: Mapping[str, Any]) -> str | None:
        if self.accepts is not None:
            plain = {"model", "messages", "max_tokens", "temperature", "seed", "stream"}
            unknown = sorted(set(body) - plain - self.accepts)
            if unknown:
                return f"unknown fields: {', '.join(unknown)}"
        if body.get("stream") and not self.streams:
            return "no streams here"
        if body.get("top_logprobs", 0) > self.most_logprobs > 0:
            return f"top_logprobs is at most {self.most_logprobs}"
        return None


def _tokens(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+|\S", text)


@contextmanager
def upstream_server(upstream: Upstream) -> Iterator[Upstream]:
    lock = threading.Lock()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            if upstream.api_key is not None and self.headers.get("Authorization") != f"Bearer {upstream.api_key}":
                self._send(Reply(401, b'{"error":{"message":"wrong key","code":"invalid_api_key"}}'))
                return
            upstream.lists += 1
            self._send(upstream.model_list or Reply(body=json.dumps({"data": upstream.cards}).encode()))

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(raw)
            with lock:
                upstream.bodies.append(body)
                upstream.headers.append({name.lower(): value for name, value in self.headers.items()})
                upstream.times.append(time.monotonic())
                upstream.in_flight += 1
                upstream.most_in_flight = max(upstream.most_in_flight, upstream.in_flight)
                fault = upstream.faults.pop(0) if upstream.faults else None
            try:
                self._send(fault or self._answer(body))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
                upstream.disconnected.set()
            finally:
                with lock:
                    upstream.in_flight -= 1

        def _answer(self, body: dict[str, Any]) -> Reply:
            refusal = upstream.refuses(body)
            if refusal is not None:
                return Reply(422, json.dumps({"error": {"message": refusal, "code": 422}}).encode())
            pieces = upstream.write(body)
            usage = {"prompt_tokens": upstream.prompt_tokens(body), "completion_tokens": len(pieces)}
            if body.get("stream"):
                return _streamed(pieces, body, usage if upstream.counts else None, upstream.drip)
            choice: dict[str, Any] = {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(pieces)},
                "finish_reason": "length" if len(pieces) == body["max_tokens"] else "stop",
            }
            if body.get("logprobs") and upstream.most_logprobs:
                begun = upstream.continued(body)
                given = upstream.next_tokens(begun) if begun is not None else {p: 1.0 for p in pieces[:1]}
                top = sorted(given.items(), key=lambda item: -item[1])[: body["top_logprobs"]]
                listed = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in top]
                choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
            answer: dict[str, Any] = {"object": "chat.completion", "model": body["model"], "choices": [choice]}
            if upstream.counts:
                answer["usage"] = usage
            time.sleep(upstream.drip)
            return Reply(body=json.dumps(upstream.change(answer)).encode())

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.pieces is None and not reply.abrupt:
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
                return
            self.send_header("Connection", "close")
            if reply.abrupt:
                self.send_header("Content-Length", "1000000")  # never fulfilled
            self.end_headers()
            self.close_connection = True
            for piece in reply.pieces or [reply.body]:
                time.sleep(reply.drip)
                self.wfile.write(piece)
                self.wfile.flush()
                upstream.pieces_sent += 1

    with serving(Handler) as upstream.url:
        yield upstream


def event(body: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def delta(text: str, finish_reason: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]})


def _streamed(pieces: list[str], body: Mapping[str, Any], usage: Mapping[str, int] | None, drip: float) -> Reply:
    events = [event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})]
    events += [delta(piece) for piece in pieces]
    events.append(delta("", "length" if len(pieces) == body["max_tokens"] else "stop"))
    if usage is not None and body.get("stream_options", {}).get("include_usage"):
        events.append(event({"choices": [], "usage": usage}))
    return Reply(headers={"Content-Type": "text/event-stream"}, pieces=[*events, b"data: [DONE]\n\n"], drip=drip)

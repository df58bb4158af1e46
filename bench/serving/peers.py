"""The servers that are compared: how each is asked, and how its answers are read.

A full answer is both labels and `RATIONALE_TOKENS` tokens of rationale. A server that writes the whole JSON gets the
tokens before its rationale on top, and goes on to that bound where it offers to; FinTunnel feeds what is fixed and
stops at the closing quote. How many tokens of rationale each wrote is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fintunnel.wire import DIRECTIONS, IMPACTS, NewsRequest

from bench.serving.load import Reply, Request
from bench.serving.streams import first_event

__all__ = [
    "BOTH_LABELS",
    "PORT",
    "RATIONALE_TOKENS",
    "Answer",
    "FinTunnel",
    "Form",
    "Mode",
    "Naive",
    "Peer",
    "encoded",
]

RATIONALE_TOKENS = 64
PORT = "{port}"
Mode = Literal["full", "labels"]
BOTH_LABELS = re.compile(rf'"impact":\s*"(?:{"|".join(IMPACTS)})",\s*"direction":\s*"(?:{"|".join(DIRECTIONS)})"')


@dataclass(frozen=True)
class Form:
    """Tokens of an answer's JSON: as far as both labels, and as far as the rationale."""

    labels: int
    before_rationale: int


@dataclass(frozen=True)
class Answer:
    """`valid`: what was asked for, both labels or the one, is among what is allowed."""

    valid: bool
    rationale_tokens: int = 0


@dataclass
class Peer:
    """`model`: what requests call it. `command` has `PORT` where its port belongs."""

    name: str
    about: str
    command: list[str]
    form: Form
    model: str = ""
    ready: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    one_at_a_time: bool = False
    streams: bool = True

    def command_on(self, port: int) -> list[str]:
        return [str(port) if word == PORT else word for word in self.command]

    def ask_full(self, request: NewsRequest) -> Request:
        raise NotImplementedError

    def read_full(self, body: bytes) -> Answer:
        raise NotImplementedError

    def ask_labels(self, request: NewsRequest) -> Request:
        raise NotImplementedError

    def read_labels(self, body: bytes) -> Answer:
        raise NotImplementedError

    def ask_stream(self, request: NewsRequest) -> Request:
        """For a full answer."""
        raise NotImplementedError

    def firsts(self, reply: Reply) -> tuple[float, float]:
        """Seconds until the first piece of a streamed answer had come, and the first of its rationale; nan: never."""
        raise NotImplementedError


class FinTunnel(Peer):
    def ask_full(self, request: NewsRequest) -> Request:
        asked = request.model_copy(update={"max_tokens": RATIONALE_TOKENS})
        return Request("/analyze", asked.model_dump_json().encode())

    def read_full(self, body: bytes) -> Answer:
        answer = json.loads(body)
        valid = answer["impact"] in IMPACTS and answer["direction"] in DIRECTIONS
        return Answer(valid, answer["usage"]["completion_tokens"])

    def ask_labels(self, request: NewsRequest) -> Request:
        return Request("/analyze", request.model_copy(update={"explain": False}).model_dump_json().encode())

    def read_labels(self, body: bytes) -> Answer:
        return self.read_full(body)

    def ask_stream(self, request: NewsRequest) -> Request:
        return Request("/analyze/stream", self.ask_full(request).body)

    def firsts(self, reply: Reply) -> tuple[float, float]:
        # The labels are the first piece: they come as an event of their own.
        return first_event(reply, "analysis"), first_event(reply, "token")


class Naive(Peer):
    def ask_full(self, request: NewsRequest) -> Request:
        return self._ask(request, self.form.before_rationale + RATIONALE_TOKENS)

    def read_full(self, body: bytes) -> Answer:
        answer = json.loads(body)
        valid = BOTH_LABELS.search(answer["text"]) is not None
        return Answer(valid, max(0, answer["tokens"] - self.form.before_rationale))

    def ask_labels(self, request: NewsRequest) -> Request:
        return self._ask(request, self.form.labels)

    def read_labels(self, body: bytes) -> Answer:
        return Answer(BOTH_LABELS.search(json.loads(body)["text"]) is not None)

    def _ask(self, request: NewsRequest, new_tokens: int) -> Request:
        return Request("/analyze", encoded({"request": request.model_dump(mode="json"), "new_tokens": new_tokens}))


def encoded(asked: Mapping[str, Any]) -> bytes:
    return json.dumps(asked, ensure_ascii=False).encode()

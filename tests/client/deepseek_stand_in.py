"""The hosted API as its vendor documents it, on loopback: key, models, JSON mode, thinking on by default, keep-alive
bytes while a request waits, log-probabilities, streams.

Documents: https://api-docs.deepseek.com (create chat completion, JSON output, thinking mode, error codes, rate limit)
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback import QuietHandler, serving

MODELS = ("deepseek-flash", "deepseek-v4-pro")
KEY = "sk-hosted-secret"
IMPACTS = {"low": 0.2, "medium": 0.3, "high": 0.5}
DIRECTIONS = {"bearish": 0.6, "neutral": 0.3, "bullish": 0.1}


@dataclass
class DeepSeekStandIn:
    """`balance`: none left is a 402, and so is `answers_left` at 0. `busy`: so many requests get a 503 first;
    `garbled`: so many answers are no JSON."""

    url: str = ""
    balance: bool = True
    busy: int = 0
    garbled: int = 0
    answers_left: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def deepseek_stand_in() -> Iterator[DeepSeekStandIn]:
    state = DeepSeekStandIn()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self._allowed():
                return
            data = [{"id": model, "object": "model", "owned_by": "deepseek"} for model in MODELS]
            self._answer(200, {"object": "list", "data": data})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if not self._allowed():
                return
            if self.path != "/chat/completions":
                return self._answer(404, {"error": {"message": "Not Found"}})
            body = json.loads(content)
            state.bodies.append(body)
            if state.busy:
                state.busy -= 1
                return self._answer(503, {"error": {"message": "Service is too busy", "code": "overloaded"}})
            if body["model"] not in MODELS:
                return self._answer(400, {"error": {"message": "Model Not Exist", "code": "invalid_request_error"}})
            asked = json.dumps(body["messages"], ensure_ascii=False)
            wants_json = body.get("response_format") == {"type": "json_object"}
            if wants_json and "json" not in asked.lower():
                return self._answer(400, {"error": {"message": "Prompt must contain the word 'json'"}})
            text = _written(asked) if wants_json or "输出一行JSON" in asked else "黄金短线承压。"
            if state.answers_left is not None:
                state.answers_left -= 1
            if state.garbled:
                state.garbled -= 1
                text = "金价？"
            if body.get("thinking") != {"type": "disabled"}:
                text = ""  # all tokens went into thinking
            if body.get("stream"):
                self._stream(text)
            else:
                self._whole(text, bool(body.get("logprobs")))

        def _allowed(self) -> bool:
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                self._answer(401, {"error": {"message": "Authentication Fails (no such user)"}})
            elif not state.balance or state.answers_left == 0:
                self._answer(402, {"error": {"message": "Insufficient Balance"}})
            else:
                return True
            return False

        def _whole(self, text: str, logprobs: bool) -> None:
            choice: dict[str, Any] = {
                "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text},
                "logprobs": {"content": _tokens(text)} if logprobs else None,
            }  # fmt: skip
            body = {"id": "x", "object": "chat.completion", "model": "deepseek-flash", "choices": [choice],
                    "usage": {"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120}}  # fmt: skip
            self._begin("application/json")
            self._chunk(b"\n\n")  # while the request waits for its turn
            self._chunk(json.dumps(body).encode())
            self._chunk(b"")

        def _stream(self, text: str) -> None:
            self._begin("text/event-stream")
            self._chunk(b": keep-alive\n\n")
            for at in range(0, len(text), 5):
                choice = {"index": 0, "delta": {"content": text[at : at + 5]}, "finish_reason": None}
                self._chunk(b"data: " + json.dumps({"model": "deepseek-flash", "choices": [choice]}).encode() + b"\n\n")
            last = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 90, "completion_tokens": 30}
            self._chunk(b"data: " + json.dumps({"choices": [last], "usage": usage}).encode() + b"\n\n")
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

        def _begin(self, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as state.url:
        yield state


def _written(asked: str) -> str:
    if "<question>" in asked:
        return json.dumps({"citations": [0], "answer": "资料显示营收增长。"}, ensure_ascii=False)
    fields = {"impact": "high", "direction": "bearish", "signals": None, "rationale": "加息推高美元，黄金短线承压。"}
    return json.dumps(fields, ensure_ascii=False)


def _tokens(text: str) -> list[dict[str, Any]]:
    """One token for each word or mark; at a label the others are there, too."""
    given = []
    for token in re.findall(r"[a-z]+|[^a-z]+", text):
        choices = IMPACTS if token in IMPACTS else DIRECTIONS if token in DIRECTIONS else {token: 1.0}
        top = [{"token": each, "logprob": math.log(share)} for each, share in choices.items()]
        given.append({"token": token, "logprob": math.log(choices[token]), "top_logprobs": top})
    return given

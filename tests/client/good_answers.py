"""What a server that behaves answers, for both backends, whole and as a stream."""

from __future__ import annotations

import json
from typing import Any

from fintunnel.wire import ModelInfo, NewsAnalysis, Timing, Usage

from tests.client.misbehaving_server import answer, event_stream

RATIONALE = "美元走强，黄金承压。"
ANALYSIS = NewsAnalysis(
    id="ana-1",
    model=ModelInfo(backend="finetuned", base="b", adapter="a", prompt_version=1),
    usage=Usage(prompt_tokens=5, completion_tokens=9),
    timing_ms=Timing(queue=0.0, model=1.0, total=1.0),
    impact="high",
    impact_probs={"low": 0.1, "medium": 0.2, "high": 0.7},
    direction="bearish",
    direction_probs={"bearish": 0.6, "neutral": 0.3, "bullish": 0.1},
    signals=None,
    signal_probs=None,
    rationale=RATIONALE,
)
WRITTEN = json.dumps(
    {"impact": "high", "direction": "bearish", "signals": None, "rationale": RATIONALE}, ensure_ascii=False
)


def own_events() -> list[bytes]:
    labels = ANALYSIS.model_copy(update={"rationale": None})
    return [
        _event("analysis", labels.model_dump_json()),
        *(_event("token", json.dumps({"text": character}, ensure_ascii=False)) for character in RATIONALE),
        _event("done", ANALYSIS.model_dump_json()),
    ]


def chat_object(content: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": "deepseek-flash",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        **fields,
    }


def hosted_events(content: str = WRITTEN) -> list[bytes]:
    pieces = [content[at : at + 7] for at in range(0, len(content), 7)]
    return [
        *(_data({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}) for piece in pieces),
        _data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": chat_object("")["usage"]}),
        b"data: [DONE]\n\n",
    ]


def good_body(backend: str) -> bytes:
    if backend == "finetuned":
        return ANALYSIS.model_dump_json().encode()
    return json.dumps(chat_object(WRITTEN), ensure_ascii=False).encode()


def good_events(backend: str) -> list[bytes]:
    return own_events() if backend == "finetuned" else hosted_events()


def good(backend: str, call: str) -> bytes:
    return event_stream(*good_events(backend)) if call == "stream" else answer(200, good_body(backend))


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def _data(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()

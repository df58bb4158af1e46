"""Whatever is sent as a body: never status 500, never a traceback in an answer, always the error body."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fintunnel.wire import ErrorBody
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

_CONTEXT = {"ticker": "XAUUSD", "window_min": 120, "pre_return": 0.001, "volatility": 0.003, "typical_move": 0.0005}
_FIGURES = {"actual": 2.9, "consensus": 2.8, "previous": 2.7, "unit": "%", "indicator": "CPI"}
_NEWS = {
    "task": "news", "text": "加息", "importance": 3, "published_at": "2025-08-01T20:30:00", "figures": _FIGURES,
    "context": _CONTEXT, "explain": False, "adapter": None, "max_tokens": 8,
}  # fmt: skip
_REPORT = {
    "task": "report",
    "question": "？",
    "passages": [{"text": "甲", "source": "乙", "page": 1}],
    "explain": False,
}
_FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
_CHAT = {
    "model": "fintunnel", "messages": [{"role": "system", "content": "甲"}, {"role": "user", "content": "乙"}],
    "max_tokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop": ["。"], "stream": False, "n": 1,
    "logprobs": True, "top_logprobs": 2, "response_format": {"type": "json_object"},
    "tools": [{"type": "function", "function": _FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
}  # fmt: skip
_REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/analyze", _NEWS),
    ("/analyze", _REPORT),
    ("/analyze/stream", _NEWS),
    ("/analyze/batch", {"items": [_NEWS, _REPORT]}),
    ("/v1/chat/completions", _CHAT),
]
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "base", "\ud800", "9" * 400])
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _places(child, (*path, name))


@st.composite
def _mutated(draw: st.DrawFn, request: dict[str, Any]) -> Any:
    """A valid request with a few of its values replaced, removed or joined by others."""
    mutant = copy.deepcopy(request)
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_places(request))))
        parent = mutant
        try:
            for step in path[:-1]:
                parent = parent[step]
            match draw(st.sampled_from(["replace", "remove", "add"])):
                case "replace":
                    parent[path[-1]] = draw(_VALUES)
                case "remove":
                    del parent[path[-1]]
                case _:
                    parent[draw(st.text(max_size=8))] = draw(_VALUES)
        except (KeyError, IndexError, TypeError):
            pass  # an earlier change took the place away
    return mutant


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    path, request = draw(st.sampled_from(_REQUESTS))
    kind = draw(st.sampled_from(["mutated", "mutated", "mutated", "cut", "bytes", "any json", "deep"]))
    if kind == "bytes":
        return path, draw(st.binary(max_size=200))
    if kind == "any json":
        return path, json.dumps(draw(_VALUES)).encode()
    if kind == "deep":
        depth = draw(st.integers(1, 20_000))
        return path, b'{"task":"news","text":' + b"[" * depth + b"]" * draw(st.integers(0, depth)) + b"}"
    # Not ASCII alone, so that lone surrogates arrive both as escapes and as invalid UTF-8.
    ascii_only = draw(st.booleans())
    body = json.dumps(draw(_mutated(request)), ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    return path, body[: draw(st.integers(0, len(body)))] if kind == "cut" else body


@pytest.mark.parametrize("examples", [400, pytest.param(100_000, marks=pytest.mark.thorough)])
def test_no_body_makes_the_server_fail(examples: int) -> None:
    with run_app(InstantEngine(), api_key=None) as app, httpx.Client(base_url=app.url, trust_env=False) as http:
        _fuzz(app, http, examples)


def _fuzz(app: LiveApp, http: httpx.Client, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(sent=_bodies())
    def send(sent: tuple[str, bytes]) -> None:
        path, body = sent
        response = http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in (200, 400, 404, 422), (path, body, response.text)
        assert "Traceback" not in response.text and 'File "' not in response.text
        if response.status_code != 200:
            error = ErrorBody.model_validate_json(response.content).error
            assert error.code.value != "internal_error" and error.request_id == response.headers["x-request-id"]
        elif path == "/analyze/batch":
            assert "internal_error" not in response.text

    send()
    assert app.drain.under_way == 0

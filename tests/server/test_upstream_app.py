"""The whole way: a caller, the real app, the upstream engine, an upstream. One machine's model work done elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fintunnel.wire import ErrorBody, NewsAnalysis
from fintunnel_server.upstream import load_upstream_engine

from tests.live_app import LiveApp, run_app
from tests.server.upstream_stand_in import NEWS_TOKENS, Reply, Upstream, upstream_server

NEWS = {"task": "news", "text": "美联储宣布加息25个基点"}
WRITTEN = '{"impact":"low","direction":"bearish","signals":null,"rationale":"利率上行。"}'


@contextmanager
def app_over(upstream: Upstream, base: str | None = None) -> Iterator[LiveApp]:
    with upstream_server(upstream):
        engine = load_upstream_engine(upstream.url, "tuned", base_model=base)
        upstream.forget()
        with run_app(engine, api_key="right-key") as app:
            yield app


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, ErrorBody.model_validate(response.json()).error.code.value


def test_labels_come_with_probabilities_and_a_text() -> None:
    with app_over(Upstream(), base="plain") as app:
        for adapter in (None, "base"):
            answer = app.post("/analyze", json=NEWS | {"adapter": adapter})
            analysis = NewsAnalysis.model_validate(answer.json())
            assert (analysis.impact, analysis.rationale) == ("high", "利率上行。")
            assert analysis.impact_probs == pytest.approx({"low": 1 / 8, "medium": 2 / 8, "high": 5 / 8})
            assert analysis.model.adapter == (None if adapter else "tuned")


def test_a_base_that_the_upstream_does_not_have_is_unknown() -> None:
    with app_over(Upstream()) as app:
        assert error(app.post("/analyze", json=NEWS | {"adapter": "base"})) == (404, "unknown_model")


def test_a_server_that_only_writes_gives_no_probabilities() -> None:
    with app_over(Upstream(continues="never", text=WRITTEN, accepts=set())) as app:
        analysis = NewsAnalysis.model_validate(app.post("/analyze", json=NEWS).json())
    assert (analysis.impact, analysis.rationale, analysis.impact_probs) == ("low", "利率上行。", None)


def test_an_overloaded_upstream_is_503_with_its_wait() -> None:
    upstream = Upstream()
    with app_over(upstream) as app:
        app.post("/analyze", json=NEWS)
        upstream.faults = [Reply(429, b'{"error":{"message":"secret host 10.0.0.7"}}', {"Retry-After": "33"})] * 9
        answer = app.post("/analyze", json=NEWS)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "33" and "10.0.0.7" not in answer.text


def test_a_caller_who_leaves_ends_the_upstreams_work() -> None:
    endless = NEWS_TOKENS | {"。": {"又": 1.0}, "又": {"又": 1.0}}
    upstream = Upstream(tokens=endless, drip=0.02)
    with app_over(upstream) as app:
        with pytest.raises(httpx.ReadTimeout):
            headers = {"Authorization": "Bearer right-key"}
            body = NEWS | {"max_tokens": 500}
            httpx.post(f"{app.url}/analyze", json=body, headers=headers, timeout=1.0, trust_env=False)
        assert upstream.disconnected.wait(5)
    assert upstream.pieces_sent < 400

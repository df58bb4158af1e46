"""Many requests in one: each is checked and answered by itself, in order, and none is lost over another."""

from __future__ import annotations

from typing import Any

import pytest
from fintunnel.wire import BatchResponse
from fintunnel_server.errors import EngineBusy

from tests.instant_engine import InstantEngine
from tests.live_app import LiveApp, run_app

NEWS: dict[str, Any] = {"task": "news", "text": "美联储宣布加息25个基点", "explain": False}
REPORT = {
    "task": "report",
    "question": "营收？",
    "passages": [{"text": "营收1亿元", "source": "年报"}],
    "explain": False,
}


def test_items_are_answered_one_by_one_in_order(live_app: LiveApp) -> None:
    items = [NEWS, REPORT, {"task": "news"}, NEWS | {"adapter": "other"}, {}, NEWS | {"adapter": "base"}]
    response = live_app.post("/analyze/batch", json={"items": items})
    results = BatchResponse.model_validate(response.json()).results
    assert [result.analysis.task if result.analysis else None for result in results] == [
        "news", "report", None, None, None, "news",
    ]  # fmt: skip
    codes = [(result.error.code.value, result.error.param) for result in results if result.error]
    assert codes == [("invalid_request", "text"), ("unknown_model", "adapter"), ("invalid_request", "task")]
    assert {result.error.request_id for result in results if result.error} == {response.headers["x-request-id"]}


def test_an_item_of_thousands_of_fields_is_refused_alone(live_app: LiveApp) -> None:
    large = NEWS | {f"x{number}": number for number in range(50_000)}
    first, second = live_app.post("/analyze/batch", json={"items": [large, NEWS]}).json()["results"]
    assert first["error"]["code"] == "invalid_request" and "太多" in first["error"]["message"] and second["analysis"]


def test_what_a_batch_answers_is_what_single_requests_get(live_app: LiveApp) -> None:
    def comparable(analysis: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in analysis.items() if name not in ("id", "timing_ms")}

    batch = live_app.post("/analyze/batch", json={"items": [NEWS, REPORT]}).json()["results"]
    for item, result in zip([NEWS, REPORT], batch, strict=True):
        assert comparable(result["analysis"]) == comparable(live_app.post("/analyze", json=item).json())


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": []}, "items"),
        ({"items": [NEWS] * 65}, "items"),
        ({"items": ["加息"]}, "items.0"),
        ({"items": NEWS}, "items"),
        ({}, "items"),
        ({"items": [NEWS], "explain": False}, "explain"),
    ],
)
def test_a_batch_that_is_none_is_refused(live_app: LiveApp, body: object, param: str) -> None:
    response = live_app.post("/analyze/batch", json=body)
    assert response.status_code == 422 and response.json()["error"]["param"] == param


def test_64_items_fill_the_models_places_and_not_its_queue(engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 3, 0.005
    seen = []
    original = engine.open

    def counting(*arguments: Any, **named: Any) -> Any:
        seen.append(engine.open_now)
        return original(*arguments, **named)

    engine.open = counting  # type: ignore[method-assign]
    with run_app(engine, api_key=None, max_rows=4) as app:
        response = app.post("/analyze/batch", json={"items": [NEWS | {"explain": True}] * 64})
    assert len(response.json()["results"]) == 64 and max(seen) == 3  # three others when the fourth begins


def test_a_failure_of_the_engine_is_each_items_own(live_app: LiveApp, engine: InstantEngine) -> None:
    engine.failure = EngineBusy("排队已满")
    results = live_app.post("/analyze/batch", json={"items": [NEWS, {}]}).json()["results"]
    assert [result["error"]["code"] for result in results] == ["queue_full", "invalid_request"]


def test_the_time_of_a_batch_is_a_requests_and_what_was_done_is_kept(engine: InstantEngine) -> None:
    engine.text, engine.delay = "金" * 1000, 0.02
    with run_app(engine, api_key=None, request_timeout=0.5) as app:
        results = app.post("/analyze/batch", json={"items": [NEWS, NEWS | {"explain": True}]}).json()["results"]
    assert results[0]["analysis"] and results[1]["error"]["code"] == "deadline_exceeded"

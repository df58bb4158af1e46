"""Many analyses: order, failures, progress, what is not asked any more. The real app's are in tests/contract."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fintunnel import (
    AsyncDeepSeekClient,
    AuthenticationError,
    ConnectionFailed,
    DeepSeekClient,
    FinTunnelError,
    InvalidRequestError,
    NewsAnalysis,
    Progress,
    QuotaError,
    RateLimitError,
)
from fintunnel.backends import own_server
from fintunnel.backends.steps import Pause
from fintunnel.local_server import free_port

from tests.client.cells import short_waits
from tests.client.fault_server import Reply, chat_reply, fault_server
from tests.client.good_answers import ANALYSIS, WRITTEN, chat_object
from tests.client.misbehaving_server import Line, Request, always, answer, misbehaving_server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(own_server, "Pause", lambda seconds: Pause(seconds / 1000))
    with short_waits():
        yield


def ask(url: str, backend: str, texts: list[str], *, asynchronous: bool, **options: Any) -> list[Any]:
    made: dict[str, Any] = {"backend": backend, "url": url, "api_key": "k"}

    async def ask_async() -> list[Any]:
        async with AsyncDeepSeekClient(**made) as client:
            return await client.analyze_many(texts, **options)

    if asynchronous:
        return asyncio.run(ask_async())
    with DeepSeekClient(**made) as client:
        return client.analyze_many(texts, **options)


def batch_of(results: list[dict[str, Any]]) -> bytes:
    return answer(200, json.dumps({"results": results}).encode())


def echo(line: Line, request: Request) -> None:
    """Each item's analysis has its text as the reason; `坏` is an error."""
    results = []
    for item in request.body["items"]:
        if item["text"] == "坏":
            detail = {"message": "no", "type": "t", "code": "internal_error", "param": None, "request_id": "r"}
            results.append({"error": detail})
        else:
            results.append({"analysis": json.loads(ANALYSIS.model_dump_json()) | {"rationale": item["text"]}})
    line.send(batch_of(results))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_order_is_kept_over_batches_and_one_failure_loses_nothing(asynchronous: bool) -> None:
    texts = [f"第{number}条" for number in range(40)]
    texts[7], texts[20] = "坏", "   "
    seen: list[Progress] = []
    with misbehaving_server(echo) as server:
        results = ask(server.url, "finetuned", texts, asynchronous=asynchronous, on_progress=seen.append)
    assert [len(request.body["items"]) for request in server.requests if len(request.body["items"]) > 1] == [16, 16, 7]
    assert [getattr(result, "rationale", None) for result in results] == [
        None if text in ("坏", "   ") else text for text in texts
    ]
    assert isinstance(results[7], FinTunnelError) and results[7].request_id == "r"
    assert isinstance(results[20], InvalidRequestError)  # told without being sent
    assert [progress.done for progress in seen] == list(range(1, 41)) and seen[-1].failed == 2
    assert {progress.index for progress in seen} == set(range(40)) and seen[-1].total == 40
    assert all(results[progress.index] is progress.result for progress in seen)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_what_the_server_had_no_room_for_is_asked_again(asynchronous: bool) -> None:
    full = {"message": "满了", "type": "t", "code": "queue_full", "param": None, "request_id": "r"}
    good = {"analysis": json.loads(ANALYSIS.model_dump_json())}
    replies = [[good, {"error": full}, {"error": full}], [good, {"error": full}], [{"error": full}]]
    with fault_server(*(Reply(body=json.dumps({"results": results}).encode()) for results in replies)) as server:
        results = ask(server.url, "finetuned", ["一", "二", "三"], asynchronous=asynchronous)
    assert [[item["text"] for item in seen.body["items"]] for seen in server.seen] == [
        ["一", "二", "三"], ["二", "三"], ["三"],
    ]  # fmt: skip
    assert [type(result) for result in results] == [NewsAnalysis, NewsAnalysis, RateLimitError]


def test_a_comparison_waits_for_room_too() -> None:
    full = {"message": "满了", "type": "t", "code": "queue_full", "param": None, "request_id": "r"}
    tuned = {"analysis": json.loads(ANALYSIS.model_dump_json())}
    base = {"analysis": json.loads(ANALYSIS.model_dump_json()) | {"impact": "low"}}
    replies = [[base, {"error": full}], [tuned]]
    with fault_server(*(Reply(body=json.dumps({"results": results}).encode()) for results in replies)) as server:
        compared = DeepSeekClient(backend="finetuned", url=server.url).compare("加息")
    assert (compared.base.impact, compared.tuned.impact, compared.changed) == ("low", "high", ["impact"])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_the_hosted_api_is_asked_one_by_one_with_bounded_concurrency(asynchronous: bool) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(line: Line, request: Request) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.03)
        text = request.body["messages"][0]["content"].split("消息：")[1].split("\n")[0]
        content = json.dumps(json.loads(WRITTEN) | {"rationale": text})
        with lock:
            running -= 1
        line.send(answer(200, json.dumps(chat_object(content)).encode()))

    texts = [f"第{number}条" for number in range(12)]
    with misbehaving_server(slow) as server:
        results = ask(server.url, "deepseek", texts, asynchronous=asynchronous, concurrency=3)
    assert [result.rationale for result in results] == texts and len(server.requests) == 12
    assert 1 < most <= 3


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (402, QuotaError)])
def test_a_refused_key_or_an_empty_balance_ends_it(status: int, kind: type[FinTunnelError], asynchronous: bool) -> None:
    with fault_server(chat_reply(WRITTEN), Reply(status)) as server:
        results = ask(server.url, "deepseek", ["x"] * 30, asynchronous=asynchronous, concurrency=1)
    assert isinstance(results[0], NewsAnalysis) and all(type(result) is kind for result in results[1:])
    assert len(server.seen) == 2


def test_failures_with_answers_between_them_do_not_end_it() -> None:
    """Each call makes three attempts."""
    fails, answers = [_reset] * 3, [always(answer(200, json.dumps(chat_object(WRITTEN)).encode()))]
    behaviours = [*fails, *fails, *answers, *fails, *fails, *answers]
    with misbehaving_server(*behaviours) as server:
        results = ask(server.url, "deepseek", ["x"] * 7, asynchronous=False, concurrency=1)
    kinds = [ConnectionFailed, ConnectionFailed, NewsAnalysis] * 2 + [NewsAnalysis]
    assert [type(result) for result in results] == kinds


def _reset(line: Line, request: Request) -> None:
    del request
    line.reset()


def test_three_times_nobody_ends_it() -> None:
    results = ask(f"http://127.0.0.1:{free_port()}", "deepseek", ["x"] * 9, asynchronous=False, concurrency=1)
    assert [type(result) for result in results] == [ConnectionFailed] * 9
    assert len({id(result) for result in results}) == 3


def test_a_batch_of_another_length_is_no_answer_for_any_of_them() -> None:
    with fault_server(Reply(body=json.dumps({"results": []}).encode())) as server:
        results = ask(server.url, "finetuned", ["一", "二"], asynchronous=False)
    assert all("答了 0 条" in str(result) for result in results)


def test_nothing_asked_is_nothing_answered() -> None:
    assert ask(f"http://127.0.0.1:{free_port()}", "finetuned", [], asynchronous=False) == []
    assert ask(f"http://127.0.0.1:{free_port()}", "finetuned", [], asynchronous=True) == []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_callback_that_raises_ends_it(asynchronous: bool) -> None:
    def stop(progress: Progress) -> None:
        raise ValueError(f"enough after {progress.done}")

    with misbehaving_server(echo) as server, pytest.raises(ValueError, match="enough"):
        ask(server.url, "finetuned", ["x"] * 64, asynchronous=asynchronous, on_progress=stop)
    assert len(server.requests) <= 3

"""The hosted API, as its vendor documents it: what is asked, what is made of its answers."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from fintunnel import (
    Context,
    DeepSeekClient,
    InvalidRequestError,
    MalformedAnswerError,
    NewsRequest,
    Passage,
    ReportRequest,
    ServerFailure,
)
from fintunnel.label_probabilities import label_probabilities
from fintunnel.wire import DIRECTIONS, IMPACTS

from tests.client.cells import short_waits
from tests.client.fault_server import FaultServer, Reply, chat_reply, fault_server
from tests.client.good_answers import WRITTEN, chat_object


def client(server: FaultServer, **options: Any) -> DeepSeekClient:
    return DeepSeekClient(backend="deepseek", url=server.url, api_key="k", **options)


def reply(body: dict[str, Any], status: int = 200) -> Reply:
    return Reply(status, json.dumps(body).encode())


def token(text: str, **others: float) -> dict[str, Any]:
    """A token that was written, with the likeliest ones in its place: `others` by probability."""
    given = others or {text: 1.0}
    top = [{"token": each, "logprob": math.log(probability)} for each, probability in given.items()]
    return {"token": text, "logprob": top[0]["logprob"], "top_logprobs": top}


LABELS = [
    token('{"'), token("impact"), token('":"'),
    token("high", high=0.7, low=0.2, medium=0.1), token('","'), token("direction"), token('":"'),
    token("bear", bear=0.5, bull=0.3, neutral=0.2), token("ish"), token('"}'),
]  # fmt: skip


def test_probabilities_come_from_logprobs_and_add_up() -> None:
    body = chat_object(WRITTEN)
    body["choices"][0]["logprobs"] = {"content": LABELS}
    with fault_server(reply(body)) as server:
        analysis = client(server).analyze("加息")
    assert server.seen[0].body["logprobs"] is True and server.seen[0].body["top_logprobs"] == 20
    assert analysis.impact_probs == pytest.approx({"low": 0.2, "medium": 0.1, "high": 0.7})
    assert analysis.direction_probs == pytest.approx({"bearish": 0.5, "neutral": 0.2, "bullish": 0.3})
    assert analysis.signal_probs is None and analysis.calibrated is False


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        [{"token": "x"}],
        LABELS[:3],
        [*LABELS[:3], token("high", high=0.7), *LABELS[4:]],  # 0.3 of it might be the others'
        [*LABELS[:3], token("high", low=0.9, high=0.06, medium=0.04), *LABELS[4:]],  # not the likeliest
        [*LABELS[:3], {"token": "high", "top_logprobs": [{"token": "high", "logprob": "x"}]}, *LABELS[4:]],
        [*LABELS[:3], {"token": "high", "top_logprobs": [{"token": "high", "logprob": math.nan}]}, *LABELS[4:]],
        [*LABELS[:3], {"token": "high", "top_logprobs": [{"token": "high", "logprob": 0}] * 2}, *LABELS[4:]],
    ],
)
def test_probabilities_that_would_be_guessed_are_null(content: Any) -> None:
    assert label_probabilities({"content": content}, "impact", IMPACTS, "high") is None
    assert label_probabilities(None, "impact", IMPACTS, "high") is None


def test_a_token_that_two_labels_begin_with_says_nothing_of_either() -> None:
    tokens = [token('{"direction":"'), token("b", b=0.8, neutral=0.2), token("ullish"), token('"}')]
    assert label_probabilities({"content": tokens}, "direction", DIRECTIONS, "bullish") is None


def test_a_label_that_is_hardly_possible_gets_no_share() -> None:
    tokens = [token('{"impact": '), token('"high', **{'"high': 0.9995, '"low': 0.0004})]
    tokens += [token('"}')]
    shares = label_probabilities({"content": tokens}, "impact", IMPACTS, "high")
    assert shares == pytest.approx({"low": 0.0004, "medium": 0.0, "high": 0.9996}, abs=1e-4)


def test_an_api_without_logprobs_is_asked_without_them_from_then_on() -> None:
    refused = reply({"error": {"message": "logprobs is not supported by this model"}}, 400)
    with fault_server(refused, chat_reply(WRITTEN), chat_reply(WRITTEN)) as server:
        asking = client(server)
        assert asking.analyze("加息").impact_probs is None
        assert asking.analyze("降息").impact == "high"
    assert ["logprobs" in seen.body for seen in server.seen] == [True, False, False]


def test_another_refusal_is_not_taken_for_that() -> None:
    with fault_server(reply({"error": {"message": "max_tokens too large"}}, 400)) as server:
        with pytest.raises(InvalidRequestError, match="max_tokens"):
            client(server).analyze("加息")
    assert len(server.seen) == 1


@pytest.mark.parametrize("first", ["", "我认为利好", '{"impact":"huge","direction":"bullish","rationale":"x"}'])
def test_an_answer_that_is_no_good_is_asked_for_once_more_with_the_reason(first: str) -> None:
    with fault_server(chat_reply(first), chat_reply(WRITTEN)) as server:
        analysis = client(server).analyze("加息")
    assert analysis.impact == "high" and len(server.seen) == 2
    assert analysis.usage.prompt_tokens == 22 and analysis.usage.completion_tokens == 14  # both are paid for
    again = server.seen[1].body["messages"]
    assert again[0] == server.seen[0].body["messages"][0]
    if first:
        assert again[1] == {"role": "assistant", "content": first} and "JSON" in again[2]["content"]
    else:
        assert len(again) == 1


def test_a_second_answer_that_is_no_good_is_an_error() -> None:
    with fault_server(chat_reply("利好")) as server, pytest.raises(MalformedAnswerError):
        client(server).analyze("加息")
    assert len(server.seen) == 2


def test_json_in_prose_or_a_fence_is_read_and_the_reason_comes_on_one_line() -> None:
    content = f"```json\n{WRITTEN}\n```".replace("黄金", "\\n黄金\\u0007")
    with fault_server(chat_reply(content)) as server:
        assert client(server).analyze("加息").rationale == "美元走强， 黄金 承压。"


def test_what_stops_an_answer_is_told() -> None:
    stopped = chat_object("")
    stopped["choices"][0]["finish_reason"] = "insufficient_system_resource"
    filtered = chat_object("")
    filtered["choices"][0]["finish_reason"] = "content_filter"
    with fault_server(reply(stopped)) as server, pytest.raises(ServerFailure, match="资源不足"):
        client(server).complete("你好")
    with fault_server(reply(filtered)) as server, pytest.raises(MalformedAnswerError, match="审查"):
        client(server).complete("你好")


def test_a_completion_is_a_string_that_knows_who_wrote_it() -> None:
    with fault_server(chat_reply("金价走高")) as server:
        answer = client(server).complete("你好")
    assert answer == "金价走高" and isinstance(answer, str) and f"{answer}。" == "金价走高。"
    assert (answer.backend, answer.usage.completion_tokens, answer.fallback, answer.truncated) == (
        "deepseek", 7, False, False,
    )  # fmt: skip
    cut = chat_object("金价")
    cut["choices"][0]["finish_reason"] = "length"
    with fault_server(reply(cut)) as server:
        assert client(server).complete("你好").truncated


def test_attempts_share_one_idempotency_key_and_calls_do_not() -> None:
    with short_waits(), fault_server(Reply(503), chat_reply("好"), chat_reply("好")) as server:
        asking = client(server)
        asking.complete("一")
        asking.complete("二")
    first, second, third = (seen.headers["idempotency-key"] for seen in server.seen)
    assert first == second != third


def test_context_brings_signals_and_reports_bring_citations() -> None:
    content = json.dumps(
        {"impact": "low", "direction": "neutral", "signals": {"priced_in": False, "wait_and_see": True},
         "rationale": "观望。"}
    )  # fmt: skip
    request = NewsRequest(text="加息", context=Context(pre_return=0.0, volatility=0.003, typical_move=0.0005))
    report = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
    with fault_server(chat_reply(content), chat_reply('{"citations":[0,0],"answer":"1亿元"}')) as server:
        asking = client(server)
        assert asking.analyze(request).signals == ["wait_and_see"]
        answer = asking.analyze(report)
    assert answer.citations == [0] and answer.answer == "1亿元" and answer.model.backend == "deepseek"
    assert "logprobs" not in server.seen[1].body  # no label is in it


def test_check_finds_the_model_in_the_list() -> None:
    models = {"object": "list", "data": [{"id": "deepseek-flash"}, {"id": "deepseek-v4-pro"}]}
    with fault_server(reply(models)) as server:
        found = client(server).check()
        assert (found.backend, found.model, found.adapter) == ("deepseek", "deepseek-flash", None)
        assert found.models == ["deepseek-flash", "deepseek-v4-pro"] and 0 <= found.round_trip_ms < 5000
        with pytest.raises(Exception, match="没有模型 other.*deepseek-flash"):
            client(server, model="other").check()

"""What an upstream offers is found out honestly: doubt is no."""

from __future__ import annotations

import asyncio

import pytest
from fintunnel_server.upstream import start_upstream_engine
from fintunnel_server.upstream.abilities import Abilities

from tests.server.upstream_stand_in import AFRESH, NEWS_TOKENS, Upstream, upstream_server


def abilities(upstream: Upstream) -> Abilities:
    async def started() -> Abilities:
        engine = await start_upstream_engine(upstream.url, "tuned")
        await engine.close()
        return engine.abilities

    with upstream_server(upstream):
        found = asyncio.run(started())
    assert all(body["max_tokens"] <= 16 for body in upstream.bodies) and len(upstream.bodies) < 25
    return found


def test_vllm_continues_with_its_fields_and_tells_logprobs() -> None:
    found = abilities(Upstream())
    assert found.continues_answers and found.top_logprobs == 20 and found.constraint == "structured_outputs"
    assert found.continuation == {"continue_final_message": True, "add_generation_prompt": False}
    assert found.stream_options == {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def test_llama_cpp_continues_without_being_told() -> None:
    found = abilities(Upstream(continues="always", constraint=None))
    assert found.continues_answers and found.top_logprobs == 20 and found.constraint is None
    strict = {"stream_options", "logprobs", "top_logprobs"}
    assert abilities(Upstream(continues="always", accepts=strict)).continuation == {}


def test_a_server_that_allows_fewer_logprobs_is_asked_for_fewer() -> None:
    assert abilities(Upstream(most_logprobs=5)).top_logprobs == 5


def test_continuing_without_logprobs_needs_a_constrained_choice() -> None:
    found = abilities(Upstream(most_logprobs=0, constraint="guided_choice"))
    assert found.continues_answers and found.top_logprobs == 0 and found.constraint == "guided_choice"
    assert not abilities(Upstream(most_logprobs=0, constraint=None)).continues_answers


@pytest.mark.parametrize(
    "text",
    [
        AFRESH,
        "day, Friday, Saturday",  # goes on by its meaning, in a turn of its own
        'high","direction":"bullish"',
    ],
)
def test_a_server_that_ignores_the_fields_and_answers_afresh_is_found_out(text: str) -> None:
    for accepts in (None, {"response_format"}):
        assert not abilities(Upstream(continues="never", text=text, accepts=accepts)).continues_answers


def test_a_server_that_counts_right_but_repeats_the_beginning_is_found_out() -> None:
    upstream = Upstream()

    def repeated(answer: dict[str, object]) -> dict[str, object]:
        body = upstream.bodies[-1]
        begun = upstream.continued(body)
        if begun is not None:
            answer["choices"][0]["message"]["content"] = begun + "day"  # type: ignore[index]
        return answer

    upstream.change = repeated
    assert not abilities(upstream).continues_answers


def test_a_server_that_does_not_count_is_not_believed() -> None:
    assert not abilities(Upstream(counts=False)).continues_answers


def test_a_model_that_knows_nothing_but_analyses_is_believed_by_its_labels() -> None:
    tokens = NEWS_TOKENS | {"Thurs": {"x": 0.9, "y": 0.1}, '{"impact":"': {"high": 0.9, "low": 0.1}}
    found = abilities(Upstream(tokens=tokens))
    assert found.continuation is not None and found.top_logprobs == 20


def test_logprobs_that_are_no_probabilities_are_not_used() -> None:
    def nonsense(answer: dict[str, object]) -> dict[str, object]:
        logprobs = answer["choices"][0].get("logprobs")  # type: ignore[index]
        for token in logprobs["content"][0]["top_logprobs"] if logprobs else ():
            token["logprob"] = 0.0
        return answer

    assert abilities(Upstream(change=nonsense)).top_logprobs == 0


def test_an_api_without_extras_is_asked_for_json_as_far_as_it_goes() -> None:
    def plain(*accepts: str) -> Abilities:
        return abilities(Upstream(continues="never", accepts=set(accepts)))

    assert plain("response_format").json_format == "json_schema"
    assert plain().json_format == "plain"
    assert plain().stream_options == {}
    assert plain("stream_options").stream_options is not None
    assert abilities(Upstream(continues="never", streams=False)).stream_options is None

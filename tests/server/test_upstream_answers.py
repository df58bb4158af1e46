"""News and reports through an upstream that behaves: scored field by field, or asked for whole as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fintunnel.wire import Context, NewsAnalysis, NewsRequest, Passage, ReportAnswer, ReportRequest
from fintunnel_server.analysis.analyze import analyze
from fintunnel_server.analysis.generated_answer import answer_schema, generated_answer
from fintunnel_server.engine import AdapterInfo, Field
from fintunnel_server.errors import UpstreamAnswerInvalid
from fintunnel_server.upstream import UpstreamEngine

from tests.server.upstream_conversation import IMPACTS, QUESTION, conversation, run
from tests.server.upstream_stand_in import NEWS_TOKENS, Upstream

DIRECTIONS = Field(
    '{"impact":"high","direction":"',
    {label: label + '","signals":null,"rationale":"' for label in ("bearish", "neutral", "bullish")},
)


async def score(engine: UpstreamEngine) -> Any:
    async with conversation(engine) as asked:
        return await asked.score([IMPACTS, DIRECTIONS])


# --- scoring ----------------------------------------------------------------------------------------


def test_fields_are_scored_by_the_likeliest_tokens_in_one_round() -> None:
    upstream = Upstream(drip=0.05)
    impact, direction = run(upstream, score)
    assert impact.choice == "high" and impact.probabilities == pytest.approx(
        {"low": 1 / 8, "medium": 2 / 8, "high": 5 / 8}
    )
    assert direction.choice == "bullish"
    assert direction.probabilities == pytest.approx({"bearish": 1 / 6, "neutral": 2 / 6, "bullish": 3 / 6})
    assert upstream.most_in_flight == 2 and len(upstream.bodies) == 3  # one more for what follows the b
    for body in upstream.bodies:
        assert body["max_tokens"] == 1 and body["temperature"] == 0 and body["top_logprobs"] == 20
        assert body["continue_final_message"] is True and body["messages"][0] == QUESTION[0]


def test_without_a_choice_among_the_likeliest_the_upstream_chooses_and_there_are_no_probabilities() -> None:
    tokens = NEWS_TOKENS | {'{"impact":"': {"huge": 1.0}}
    impact, direction = run(Upstream(tokens=tokens), score)
    assert impact.choice == "high" and impact.probabilities is None  # the stand-in chooses the last
    assert direction.probabilities is not None
    unconfined, _ = run(Upstream(tokens=tokens, constraint=None), score)
    assert unconfined.choice == "low" and unconfined.probabilities is None


def test_without_logprobs_choices_are_constrained() -> None:
    for constraint in ("structured_outputs", "guided_choice"):
        upstream = Upstream(most_logprobs=0, constraint=constraint)
        impact, direction = run(upstream, score)
        assert (impact.choice, impact.probabilities, direction.choice) == ("high", None, "bullish")
        assert all(constraint in body for body in upstream.bodies)


def test_a_choice_outside_the_given_ones_is_an_error() -> None:
    upstream = Upstream(most_logprobs=0)

    async def lied(engine: UpstreamEngine) -> None:
        upstream.constraint = None
        await score(engine)

    with pytest.raises(UpstreamAnswerInvalid):
        run(upstream, lied)


def test_a_whole_analysis() -> None:
    async def ask(engine: UpstreamEngine) -> list[Any]:
        request = NewsRequest(text="加息25个基点")
        return [part async for part in analyze(request, engine, adapter="tuned", max_prompt_tokens=1000)]

    upstream = Upstream()
    labels, *pieces, whole = run(upstream, ask)
    assert isinstance(whole, NewsAnalysis) and (whole.impact, whole.rationale) == ("high", "利率上行。")
    assert pieces == ["利率", "上行", "。"] and labels.rationale is None
    assert whole.impact_probs == pytest.approx({"low": 1 / 8, "medium": 2 / 8, "high": 5 / 8})
    scored = upstream.prompt_tokens(upstream.bodies[0])
    assert 0 < whole.usage.prompt_tokens <= scored and whole.usage.completion_tokens == 4
    assert (whole.model.base, whole.model.adapter) == ("plain", "tuned")


def test_the_base_is_asked_under_its_own_name() -> None:
    async def ask(engine: UpstreamEngine) -> None:
        assert engine.info.has_base
        for adapter in ("tuned", None):
            async with conversation(engine, adapter) as asked:
                await asked.score([IMPACTS])

    upstream = Upstream()
    run(upstream, ask)
    assert [body["model"] for body in upstream.bodies] == ["tuned", "plain"]


# --- whole answers as JSON --------------------------------------------------------------------------

GOOD = (
    '{"impact":"high","direction":"bullish","signals":{"priced_in":true,"wait_and_see":false},'
    '"rationale":"利率\\n上行。\\ud800"}'
)
CONTEXT = Context(pre_return=0.001, volatility=0.003, typical_move=0.0005)


def answers(upstream: Upstream, request: NewsRequest | ReportRequest, *texts: str) -> list[Any]:
    """`texts`: what the upstream writes at the first, the second … time."""

    def common() -> dict[str, Any]:
        model = {"backend": "finetuned", "base": "b", "adapter": None, "prompt_version": 1}
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        timing = {"queue": 0.0, "model": 0.0, "total": 0.0}
        return {"id": "x", "model": model, "usage": usage, "timing_ms": timing, "calibrated": True}

    async def ask(engine: UpstreamEngine) -> list[Any]:
        assert not engine.info.continues_answers
        remaining = list(texts)
        upstream.change = lambda answer: _with_text(answer, remaining.pop(0))
        async with conversation(engine) as asked:
            return [part async for part in generated_answer(request, asked, about=AdapterInfo(), common=common)]

    result: list[Any] = run(upstream, ask)
    return result


def _with_text(answer: dict[str, Any], text: str) -> dict[str, Any]:
    answer["choices"][0]["message"]["content"] = text
    return answer


def plain(*accepts: str) -> Upstream:
    return Upstream(continues="never", accepts=set(accepts))


def test_a_written_analysis_is_validated_and_has_no_probabilities() -> None:
    upstream = plain("response_format")
    labels, text, whole = answers(upstream, NewsRequest(text="加息", context=CONTEXT), GOOD)
    assert isinstance(whole, NewsAnalysis) and whole.signals == ["priced_in"] and whole.impact_probs is None
    assert text == whole.rationale == "利率 上行。" and not whole.calibrated
    assert labels == whole.model_copy(update={"rationale": None})
    [body] = upstream.bodies
    wanted = body["response_format"]["json_schema"]
    assert wanted["strict"] and wanted["schema"] == answer_schema(NewsRequest(text="加息", context=CONTEXT))
    assert list(wanted["schema"]["properties"]) == ["impact", "direction", "signals", "rationale"]
    assert body["max_tokens"] > 160 and body["temperature"] == 0


def test_without_explanation_none_is_asked_for_or_given() -> None:
    upstream = plain("response_format")
    [labels] = answers(upstream, NewsRequest(text="加息", explain=False), '{"impact":"low","direction":"neutral"}')
    assert labels.rationale is None and labels.signals is None
    assert "rationale" not in upstream.bodies[0]["response_format"]["json_schema"]["schema"]["properties"]


def test_json_is_found_in_a_code_fence() -> None:
    *_, whole = answers(plain(), NewsRequest(text="加息"), f"好的：\n```json\n{GOOD}\n```")
    assert whole.impact == "high"


def test_a_report_is_validated() -> None:
    request = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
    cited, text, whole = answers(plain(), request, '{"citations":[0,0],"answer":"1亿元"}')
    assert isinstance(whole, ReportAnswer) and whole.citations == [0] and whole.answer == text == "1亿元"
    assert cited.answer is None and isinstance(answer_schema(request)["properties"], dict)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "利好",
        GOOD[:-9],
        GOOD.replace("high", "huge"),
        '{"impact":"low","direction":"neutral"}',
        "[" * 100_000,
        "{" * 100_000,
        json.dumps([GOOD]),
    ],
)
def test_an_invalid_answer_is_asked_for_once_more_and_then_an_error(bad: str) -> None:
    upstream = plain()
    *_, whole = answers(upstream, NewsRequest(text="加息"), bad, GOOD)
    assert whole.impact == "high"
    first, second = upstream.bodies
    assert first["temperature"] == 0 and second["temperature"] > 0  # greedily the same would come again
    with pytest.raises(UpstreamAnswerInvalid):
        answers(plain(), NewsRequest(text="加息"), bad, bad)


def test_a_citation_of_nothing_is_invalid() -> None:
    request = ReportRequest(question="营收？", passages=[Passage(text="营收1亿元", source="年报")])
    with pytest.raises(UpstreamAnswerInvalid, match="不存在的资料"):
        answers(plain(), request, *['{"citations":[3],"answer":"1亿元"}'] * 2)

"""The engine on a GPU in 4 bits with an adapter, against a plain reference: one at a time, whole passes, `generate`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
import torch
from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import NewsAnalysis, NewsRequest
from fintunnel_server.analysis.analyze import analyze
from fintunnel_server.errors import EngineFull
from fintunnel_server.loading import load_local_engine
from fintunnel_server.local_engine import LocalEngine

from tests.e2e.plain_reference import PlainReference, largest_gap, most_likely
from tests.gpu.conftest import Tuned, computing_in, requests

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

# By how much a probability may differ where sums are cut or ordered otherwise: activations have 8 significant bits in
# bf16, 11 in fp16. Float32 shows that nothing else differs.
ROUNDING = {"bfloat16": 0.08, "float16": 0.02, "float32": 1e-3}
Question = tuple[NewsRequest, str | None]


@pytest.fixture
def engine(tuned: Tuned) -> Iterator[LocalEngine]:
    engine = load_local_engine("embedded", {"tuned": tuned.folder})
    yield engine
    engine.stop()


def questions(count: int, first: int = 500) -> list[Question]:
    """Labels alone, each of the adapter and of the base."""
    silent = [request.model_copy(update={"explain": False}) for request in requests(count, first=first)]
    return [(request, adapter) for request in silent for adapter in ("tuned", None)]


async def analysis(engine: LocalEngine, question: Question) -> NewsAnalysis:
    request, adapter = question
    parts = [part async for part in analyze(request, engine, adapter=adapter, max_prompt_tokens=2048)]
    assert isinstance(parts[-1], NewsAnalysis)
    return parts[-1]


def at_once(engine: LocalEngine, asked: Sequence[Question]) -> list[NewsAnalysis | BaseException]:
    async def ask() -> list[NewsAnalysis | BaseException]:
        return await asyncio.gather(*(analysis(engine, one) for one in asked), return_exceptions=True)

    return asyncio.run(ask())


def answered(results: Sequence[NewsAnalysis | BaseException]) -> list[NewsAnalysis]:
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, NewsAnalysis)]


def gap(ours: NewsAnalysis, theirs: NewsAnalysis) -> float:
    return max(
        largest_gap(ours.impact_probs, theirs.impact_probs), largest_gap(ours.direction_probs, theirs.direction_probs)
    )


def test_questions_at_once_get_the_labels_that_each_gets_alone(engine: LocalEngine, tuned: Tuned) -> None:
    asked = questions(20)
    alone = [answered(at_once(engine, [one]))[0] for one in asked]
    together = answered(at_once(engine, asked))
    largest = max(gap(ours, theirs) for ours, theirs in zip(together, alone, strict=True))
    print(f"{tuned.precision}: at once against alone: largest gap {largest:.1e}")  # noqa: T201
    assert largest < ROUNDING[tuned.precision]


def test_the_labels_are_those_of_the_plain_reference(engine: LocalEngine, tuned: Tuned) -> None:
    asked = questions(6)
    reference = PlainReference(tuned.folder)
    largest = 0.0
    for given, (request, adapter) in zip(answered(at_once(engine, asked)), asked, strict=True):
        expected = reference.labels(request, adapter)
        largest = max(
            largest,
            largest_gap(given.impact_probs, expected.impact),
            largest_gap(given.direction_probs, expected.direction),
        )
    print(f"{tuned.precision}: at once against plain passes: largest gap {largest:.1e}")  # noqa: T201
    assert largest < ROUNDING[tuned.precision]


def test_in_float32_labels_and_texts_are_those_of_the_plain_reference(tuned: Tuned) -> None:
    """4-bit weights all the same; base and adapter in the same passes, token by token."""
    with computing_in("float32"):
        reference = PlainReference(tuned.folder)
        engine = load_local_engine("embedded", {"tuned": tuned.folder})
    try:
        asked = questions(6)
        for given, (request, adapter) in zip(answered(at_once(engine, asked)), asked, strict=True):
            expected = reference.labels(request, adapter)
            assert largest_gap(given.impact_probs, expected.impact) < ROUNDING["float32"]
            assert largest_gap(given.direction_probs, expected.direction) < ROUNDING["float32"]
            assert given.impact == most_likely(expected.impact)
        prompts = [(render_prompt(request).messages(), adapter) for request, adapter in questions(8)]

        async def write(messages: list[Message], adapter: str | None) -> str:
            async with engine.open(messages, adapter=adapter, answer_tokens=64) as conversation:
                return "".join([piece async for piece in conversation.write("", max_tokens=40)])

        async def write_all() -> list[str]:
            return await asyncio.gather(*(write(messages, adapter) for messages, adapter in prompts))

        for text, (messages, adapter) in zip(asyncio.run(write_all()), prompts, strict=True):
            assert text == reference.text(messages, "", 40, adapter).rstrip("\ufffd")
    finally:
        engine.stop()


def test_an_adapter_answers_in_the_form_that_it_learned(engine: LocalEngine) -> None:
    [given] = answered(at_once(engine, [(requests(1, first=900)[0], "tuned")]))
    assert given.rationale and "预期" in given.rationale


def test_full_memory_costs_a_request_at_most_and_never_the_engine(engine: LocalEngine, tuned: Tuned) -> None:
    asked = questions(24)
    answered(at_once(engine, asked[:1]))
    failures = torch.cuda.memory_stats()["num_ooms"]
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 24 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        cramped = at_once(engine, asked)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.cuda.memory_stats()["num_ooms"] > failures  # the real thing
    free = answered(at_once(engine, asked))
    for ours, theirs in zip(cramped, free, strict=True):
        if isinstance(ours, NewsAnalysis):
            assert gap(ours, theirs) < ROUNDING[tuned.precision]
        else:
            assert isinstance(ours, EngineFull)
    count = sum(isinstance(each, NewsAnalysis) for each in cramped)
    print(f"{tuned.precision}: with 24 MiB left {count} of {len(asked)} are answered")  # noqa: T201
    assert count > 0

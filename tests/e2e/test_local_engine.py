"""The real engine on the real base, against a plain reference: one at a time, whole passes, peft, `generate`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import NewsAnalysis, NewsRequest
from fintunnel_server.analysis.analyze import analyze
from fintunnel_server.engine import Field, Sampling
from fintunnel_server.loading import load_local_engine, load_merged_engine
from fintunnel_server.local_engine import EngineLimits, LocalEngine
from fintunnel_training.base import LoadedBase, load_base
from fintunnel_training.dataset.sources.database import read_database
from fintunnel_training.errors import AdapterError

from tests.e2e.plain_reference import PlainReference, largest_gap, loaded, most_likely, requests

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::FutureWarning")]

# Activations have 8 significant bits in bf16: whoever cuts or orders a sum otherwise gets another probability by up to
# this much. Float32 shows that nothing else differs.
BF16 = 0.08
EXACT = 1e-4
HEADLINE = "美联储宣布加息25个基点"
_T = TypeVar("_T")


@pytest.fixture(scope="module")
def engine(adapter: Path) -> Iterator[LocalEngine]:
    engine = load_local_engine("embedded", {"tuned": adapter})
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def exact_engine(adapter: Path) -> Iterator[LocalEngine]:
    """In float32 and without quantisation."""
    engine = LocalEngine(lambda: loaded("none", exact=True), EngineLimits())
    engine.load_adapter("tuned", adapter)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def exact_reference(adapter: Path) -> PlainReference:
    return PlainReference(adapter, exact=True)


@pytest.fixture(scope="module")
def news(sample_database: Path) -> list[NewsRequest]:
    """20 headlines of the sample database, every other one with context."""
    events = [event for event in read_database(sample_database).events if len(event.text) < 60]
    return list(requests([event.text for event in events[:: len(events) // 20][:20]]))


async def analysis(engine: LocalEngine, request: NewsRequest, adapter: str | None) -> NewsAnalysis:
    parts = [part async for part in analyze(request, engine, adapter=adapter, max_prompt_tokens=2048)]
    assert isinstance(parts[-1], NewsAnalysis)
    return parts[-1]


def at_once(engine: LocalEngine, asked: list[tuple[NewsRequest, str | None]]) -> list[NewsAnalysis]:
    async def ask() -> list[NewsAnalysis]:
        return await asyncio.gather(*(analysis(engine, request, adapter) for request, adapter in asked))

    return asyncio.run(ask())


def labels_only(news: list[NewsRequest]) -> list[tuple[NewsRequest, str | None]]:
    """Each asked of the adapter and of the base."""
    silent = [request.model_copy(update={"explain": False}) for request in news]
    return [(request, adapter) for request in silent for adapter in ("tuned", None)]


def test_twenty_headlines_at_once_get_the_labels_of_the_plain_reference(
    exact_engine: LocalEngine, exact_reference: PlainReference, news: list[NewsRequest]
) -> None:
    asked = labels_only(news)[::3]  # a plain pass takes its time: adapter and base in turn
    assert {adapter for _, adapter in asked} == {"tuned", None} and len({r.text for r, _ in asked}) >= 13
    for given, (request, adapter) in zip(at_once(exact_engine, asked), asked, strict=True):
        expected = exact_reference.labels(request, adapter)
        assert largest_gap(given.impact_probs, expected.impact) < EXACT
        assert largest_gap(given.direction_probs, expected.direction) < EXACT
        assert (given.impact, given.direction) == (most_likely(expected.impact), most_likely(expected.direction))
        if expected.signals is not None:
            assert largest_gap(given.signal_probs, expected.signals) < EXACT
            assert given.signals == [signal for signal, chance in expected.signals.items() if chance > 0.5]


@pytest.mark.parametrize("quantized", [True, False])
def test_what_else_is_asked_at_the_same_time_changes_no_label(
    engine: LocalEngine, exact_engine: LocalEngine, news: list[NewsRequest], quantized: bool
) -> None:
    """40 questions in shared passes against each one alone."""
    chosen = engine if quantized else exact_engine
    asked = labels_only(news)
    tolerance = BF16 if quantized else EXACT
    for given, one in zip(at_once(chosen, asked), asked, strict=True):
        [alone] = at_once(chosen, [one])
        assert (given.impact, given.direction, given.signals) == (alone.impact, alone.direction, alone.signals)
        assert largest_gap(given.impact_probs, alone.impact_probs) < tolerance
        assert largest_gap(given.direction_probs, alone.direction_probs) < tolerance


def test_in_4_bits_the_reference_agrees_as_far_as_bf16_goes(
    engine: LocalEngine, adapter: Path, news: list[NewsRequest]
) -> None:
    reference = PlainReference(adapter, "nf4")
    asked = labels_only(news[:3])
    for given, (request, name) in zip(at_once(engine, asked), asked, strict=True):
        expected = reference.labels(request, name)
        assert largest_gap(given.impact_probs, expected.impact) < BF16
        assert largest_gap(given.direction_probs, expected.direction) < BF16


def test_texts_written_together_are_those_that_generate_writes(
    exact_engine: LocalEngine, exact_reference: PlainReference, news: list[NewsRequest]
) -> None:
    """Adapter and base in the same passes, token by token."""
    prompts = [(render_prompt(request).messages(), name) for request in news[:4] for name in ("tuned", None)]

    async def write(messages: list[Message], adapter: str | None) -> str:
        async with exact_engine.open(messages, adapter=adapter, answer_tokens=32) as conversation:
            return "".join([piece async for piece in conversation.write("", max_tokens=12)])

    async def write_all() -> list[str]:
        return await asyncio.gather(*(write(messages, adapter) for messages, adapter in prompts))

    for text, (messages, adapter) in zip(asyncio.run(write_all()), prompts, strict=True):
        expected = exact_reference.text(messages, "", 12, adapter)
        assert text == expected.rstrip("\ufffd")


def test_a_rationale_goes_on_from_the_labels_as_generate_would(
    exact_engine: LocalEngine, exact_reference: PlainReference, news: list[NewsRequest]
) -> None:
    request = news[1].model_copy(update={"max_tokens": 16})
    [given] = at_once(exact_engine, [(request, "tuned")])
    signals = ",".join(f'"{s}":{str(s in (given.signals or [])).lower()}' for s in ("priced_in", "wait_and_see"))
    prefix = f'{{"impact":"{given.impact}","direction":"{given.direction}","signals":{{{signals}}},"rationale":"'
    expected = exact_reference.text(render_prompt(request).messages(), prefix, 16, "tuned").split('"')[0]
    assert given.rationale == " ".join(expected.rstrip("\ufffd").split())
    assert given.usage.completion_tokens <= 16


def test_the_adapter_changes_the_answer(engine: LocalEngine) -> None:
    request = NewsRequest(text=HEADLINE, explain=False)
    tuned, base = at_once(engine, [(request, "tuned"), (request, None)])
    assert largest_gap(tuned.impact_probs, base.impact_probs) > 0.02


def test_the_same_question_gets_the_same_probabilities(engine: LocalEngine, news: list[NewsRequest]) -> None:
    """To the last digit, whatever was asked in between and whether it is asked alone."""
    question = (NewsRequest(text=HEADLINE, explain=False), "tuned")
    [first] = at_once(engine, [question])
    among = at_once(engine, [*labels_only(news[:5]), question])[-1]
    [last] = at_once(engine, [question])
    assert first.impact_probs == last.impact_probs and first.direction_probs == last.direction_probs
    assert largest_gap(first.impact_probs, among.impact_probs) < BF16


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


async def write(engine: LocalEngine, *, max_tokens: int, **options: Any) -> str:
    messages = render_prompt(NewsRequest(text=HEADLINE)).messages()
    async with engine.open(messages, adapter="tuned", answer_tokens=64) as conversation:
        pieces = conversation.reply(max_tokens=max_tokens, sampling=Sampling(**options))
        return "".join([piece.text async for piece in pieces])


def test_a_temperature_next_to_zero_is_greedy(engine: LocalEngine) -> None:
    assert run(write(engine, max_tokens=6, temperature=1e-300)) == run(write(engine, max_tokens=6))


def test_sampling_is_repeatable_by_its_seed(engine: LocalEngine) -> None:
    first, again, other = (run(write(engine, max_tokens=8, temperature=1.5, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_a_choice_of_several_tokens_is_not_punished(engine: LocalEngine) -> None:
    """Over the trie, a long spelling of one label costs nothing: only branches count."""

    async def scored(choices: dict[str, str]) -> dict[str, float] | None:
        messages = render_prompt(NewsRequest(text=HEADLINE)).messages()
        async with engine.open(messages, adapter="tuned", answer_tokens=64) as conversation:
            [scores] = await conversation.score([Field('{"impact":"', choices)])
            return scores.probabilities

    short = run(scored({"a": "low", "b": "high"}))
    long = run(scored({"a": "low", "b": "high" + "极其罕见的一长串文字" * 3}))
    assert long == pytest.approx(short, abs=1e-6)


def test_leaving_a_conversation_frees_its_row_and_stops_its_text(engine: LocalEngine) -> None:
    async def leave_early() -> None:
        messages = render_prompt(NewsRequest(text=HEADLINE)).messages()
        async with engine.open(messages, adapter=None, answer_tokens=512) as conversation:
            async for _ in conversation.write("", max_tokens=500):
                break
            assert engine.rows_in_use == 1

    run(leave_early())
    time.sleep(0.5)  # the pass under way comes to its end
    passes = engine.passes
    time.sleep(0.5)
    assert engine.rows_in_use == 0 and engine.passes == passes


def test_another_adapter_is_added_while_the_first_is_asked(
    engine: LocalEngine, adapter: Path, news: list[NewsRequest]
) -> None:
    async def add_meanwhile() -> list[NewsAnalysis]:
        silent = [request.model_copy(update={"explain": False}) for request in news[:6]]
        before = asyncio.gather(*(analysis(engine, request, "tuned") for request in silent))
        await asyncio.to_thread(engine.load_adapter, "second", adapter)
        after = asyncio.gather(*(analysis(engine, request, "second") for request in silent))
        return [*await before, *await after]

    answers = run(add_meanwhile())
    assert [each.model.adapter for each in answers] == ["tuned"] * 6 + ["second"] * 6
    for first, second in zip(answers[:6], answers[6:], strict=True):  # the same weights under another name
        assert largest_gap(first.impact_probs, second.impact_probs) < BF16


def test_an_adapter_of_another_base_is_refused(adapter: Path, embedded: LoadedBase, tmp_path: Path) -> None:
    """A real other base: the same architecture with another vocabulary size, in a local folder."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer: AutoTokenizer = embedded.tokenizer
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    with pytest.raises(AdapterError, match="另一个基座.*SmolLM2-135M-Instruct.*tiny.*模型结构"):
        load_local_engine(str(tmp_path / "tiny"), {"tuned": adapter})


def test_the_base_alone_can_be_served() -> None:
    engine = LocalEngine(lambda: load_base("embedded", "none"), EngineLimits())
    try:
        [given] = at_once(engine, [(NewsRequest(text=HEADLINE, explain=False), None)])
        assert given.model.adapter is None and engine.info.default_adapter is None
    finally:
        engine.stop()


def test_a_merged_adapter_answers_without_a_base(adapter: Path, news: list[NewsRequest]) -> None:
    asked = labels_only(news[:6])[::2]
    apart = load_local_engine("embedded", {"tuned": adapter}, quantization="none")
    try:
        tuned = at_once(apart, asked)
        base = at_once(apart, [(request, None) for request, _ in asked])
    finally:
        apart.stop()
    merged = load_merged_engine("embedded", "tuned", adapter, quantization="none")
    try:
        assert merged.info.default_adapter == "tuned" and not merged.info.has_base
        for given, expected, bare in zip(at_once(merged, asked), tuned, base, strict=True):
            assert given.edges == expected.edges and given.model == expected.model
            gap = largest_gap(given.impact_probs, expected.impact_probs)
            assert gap < BF16 and gap < largest_gap(given.impact_probs, bare.impact_probs) / 2
        with pytest.raises(AdapterError, match="--merge"):
            merged.load_adapter("second", adapter)
    finally:
        merged.stop()

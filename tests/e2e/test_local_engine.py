"""The real engine on the real 4-bit base, against plain forward passes without any cache."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import NewsRequest
from fintunnel_server.local_engine import LocalEngine, load_local_engine
from fintunnel_training.adapter import read_adapter
from fintunnel_training.base import LoadedBase, load_base, prompt_tokens
from fintunnel_training.errors import AdapterError

pytestmark = pytest.mark.e2e

HEADLINES = ["美联储宣布加息25个基点", "现货黄金短线走高15美元", "美国8月非农就业人口增加2.2万人，预期7.5万人"]
CHOICES = {label: label + '","direction":"' for label in ("low", "medium", "high")}
PREFIX = '{"impact":"'
# Activations have 8 significant bits: a prompt computed in one piece or in two may differ by this much in a
# probability. Float32 shows that nothing else does.
BF16 = 0.06


def messages(text: str) -> list[Message]:
    return render_prompt(NewsRequest(text=text)).messages()


@pytest.fixture(scope="module")
def engine(adapter: Path) -> Iterator[LocalEngine]:
    engine = load_local_engine("embedded", adapter)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def exact_engine(adapter: Path) -> Iterator[LocalEngine]:
    """The same engine in float32 without quantisation: what it does in pieces must equal one whole pass closely."""
    base = load_base("embedded", "none")
    engine = LocalEngine(dataclasses.replace(base, model=base.model.float()), adapter, read_adapter(adapter))
    yield engine
    engine.close()


def reference_scores(engine: LocalEngine, text: str, adapter: str | None) -> dict[str, float]:
    """Each label by one uncached forward pass: its first token decides here, the others follow of themselves."""
    tokenizer, model = engine._tokenizer, engine._model
    prompt = prompt_tokens(tokenizer, messages(text), PREFIX)
    first = {
        label: prompt_tokens(tokenizer, messages(text), PREFIX + choice)[len(prompt)]
        for label, choice in CHOICES.items()
    }
    assert len(set(first.values())) == len(first)
    with torch.inference_mode():
        if adapter is None:
            with model.disable_adapter():
                logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].float()
        else:
            logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].float()
    shares = torch.softmax(logits[list(first.values())], dim=0).tolist()
    return dict(zip(first, shares, strict=True))


async def score(engine: LocalEngine, text: str, adapter: str | None) -> dict[str, float]:
    return (await engine.score(messages(text), PREFIX, CHOICES, adapter=adapter)).probabilities


def test_scores_equal_plain_forward_passes_with_and_without_the_adapter(exact_engine: LocalEngine) -> None:
    for text in HEADLINES * 2:  # the second round from kept prompts
        for adapter in ("tuned", None):
            scores = asyncio.run(score(exact_engine, text, adapter))
            assert sum(scores.values()) == pytest.approx(1)
            assert scores == pytest.approx(reference_scores(exact_engine, text, adapter), abs=1e-3)


def test_scores_in_4_bits_equal_plain_forward_passes_as_far_as_bf16_goes(engine: LocalEngine) -> None:
    for text in HEADLINES:
        scores = asyncio.run(score(engine, text, "tuned"))
        assert scores == pytest.approx(reference_scores(engine, text, "tuned"), abs=BF16)


def test_the_adapter_changes_the_answer(engine: LocalEngine) -> None:
    tuned = reference_scores(engine, HEADLINES[0], "tuned")
    base = reference_scores(engine, HEADLINES[0], None)
    assert max(abs(tuned[label] - base[label]) for label in CHOICES) > 0.02


def test_base_and_tuned_at_once_do_not_mix(exact_engine: LocalEngine) -> None:
    async def both() -> list[dict[str, float]]:
        calls = [
            exact_engine.score(messages(HEADLINES[i % 3]), PREFIX, CHOICES, adapter="tuned" if i % 2 else None)
            for i in range(12)
        ]
        return [scores.probabilities for scores in await asyncio.gather(*calls)]

    for i, scores in enumerate(asyncio.run(both())):
        assert scores == pytest.approx(
            reference_scores(exact_engine, HEADLINES[i % 3], "tuned" if i % 2 else None), abs=1e-3
        )


def test_a_choice_of_several_tokens_is_not_punished(engine: LocalEngine) -> None:
    """Over the trie, a long spelling of one label costs nothing: only branches count."""

    async def scored(choices: dict[str, str]) -> dict[str, float]:
        return (await engine.score(messages(HEADLINES[0]), PREFIX, choices, adapter="tuned")).probabilities

    short = asyncio.run(scored({"a": "low", "b": "high"}))
    long = asyncio.run(scored({"a": "low", "b": "high" + "极其罕见的一长串文字" * 3}))
    assert long == pytest.approx(short, abs=1e-6)


def test_greedy_text_equals_transformers_generate(engine: LocalEngine) -> None:
    async def write() -> str:
        generation = await engine.generate(messages(HEADLINES[1]), adapter="tuned", max_tokens=12)
        return generation.text

    tokens = prompt_tokens(engine._tokenizer, messages(HEADLINES[1]))
    with torch.inference_mode():
        whole = engine._model.generate(
            input_ids=torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
        )
    expected = engine._tokenizer.decode(whole[0, len(tokens) :], skip_special_tokens=True).rstrip("\ufffd")
    assert asyncio.run(write()) == expected


def test_a_temperature_next_to_zero_is_greedy(engine: LocalEngine) -> None:
    async def write(temperature: float) -> str:
        return (
            await engine.generate(messages(HEADLINES[0]), adapter="tuned", max_tokens=6, temperature=temperature)
        ).text

    assert asyncio.run(write(1e-300)) == asyncio.run(write(0.0))


def test_sampling_is_repeatable_by_its_seed(engine: LocalEngine) -> None:
    async def write(seed: int) -> str:
        generation = await engine.generate(
            messages(HEADLINES[0]), adapter="tuned", max_tokens=8, temperature=1.5, seed=seed
        )
        return generation.text

    assert asyncio.run(write(1)) == asyncio.run(write(1)) != asyncio.run(write(2))


def test_interleaved_prompts_keep_their_own_memory(engine: LocalEngine) -> None:
    """Two prompts in turn, each computed once: afterwards both are still known."""

    for text in (HEADLINES[0], HEADLINES[1], HEADLINES[0], HEADLINES[1]):
        asyncio.run(score(engine, text, "tuned"))
    kept = [prefill.tokens for prefill in engine._kept if prefill.adapter == "tuned"]
    assert all(prompt_tokens(engine._tokenizer, messages(text)) in kept for text in HEADLINES[:2])
    assert len(kept) <= 4


def test_the_same_question_gets_the_same_probabilities(engine: LocalEngine) -> None:
    """To the last digit, whatever was asked in between and whether the prompt was still known."""

    async def ask_further() -> None:
        await engine.score(messages(HEADLINES[0]), PREFIX + 'high","direction":"', CHOICES, adapter="tuned")

    first = asyncio.run(score(engine, HEADLINES[0], "tuned"))
    asyncio.run(ask_further())
    assert asyncio.run(score(engine, HEADLINES[0], "tuned")) == first
    for i in range(6):
        asyncio.run(score(engine, f"另一条消息{i}", "tuned"))
    assert asyncio.run(score(engine, HEADLINES[0], "tuned")) == first


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
        load_local_engine(str(tmp_path / "tiny"), adapter)

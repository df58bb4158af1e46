from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from fintunnel_server.engine import Sampling
from fintunnel_server.inference.writing import Writing

TEXTS = {0: "<end>", 1: "金", 2: " 价", 3: "\ufffd", 4: "\ufffd"}


class Tokenizer:
    """3 and 4 are the halves of 涨; <end> is special."""

    def decode(self, tokens: list[int], **_: object) -> str:
        text = "".join(TEXTS[token] for token in tokens if token)
        return text.replace("\ufffd\ufffd", "涨") if tokens[-2:] == [3, 4] else text


def logits(*probabilities: float) -> Any:
    return torch.tensor(probabilities).log()


def writing(sampling: Sampling = Sampling(), most: int = 9) -> Writing:  # noqa: B008
    return Writing(Tokenizer(), frozenset({0}), max_tokens=most, sampling=sampling)


def test_logprobs_are_the_models_own_whatever_the_temperature() -> None:
    piece = writing(Sampling(temperature=1.7, top_p=0.1, top_logprobs=2)).take(logits(0.1, 0.6, 0.3, 0, 0))
    [token] = piece.tokens
    assert (token.text, token.raw) == ("金", "金".encode()) and token.logprob == pytest.approx(math.log(0.6))
    assert [(top.text, round(math.exp(top.logprob), 3)) for top in token.top] == [("金", 0.6), (" 价", 0.3)]


def test_a_character_of_two_tokens_keeps_both() -> None:
    text = writing(Sampling(top_logprobs=0))
    first, second = text.take(logits(0, 0, 0, 1, 0)), text.take(logits(0, 0, 0, 0, 1))
    assert (first.text, second.text) == ("", "涨")
    assert [token.raw for token in (*first.tokens, *second.tokens)] == [None, None]
    assert not writing().take(logits(0, 1, 0, 0, 0)).tokens  # nobody asked


def test_the_end_token_is_no_part_of_the_text() -> None:
    text = writing(Sampling(top_logprobs=1))
    piece = text.take(logits(1, 0, 0, 0, 0))
    assert (piece.text, list(piece.tokens), text.finished, text.produced) == ("", [], "stop", [])


def drawn(top_p: float, temperature: float = 1.0) -> Counter[int]:
    counts: Counter[int] = Counter()
    for seed in range(400):
        text = writing(Sampling(temperature=temperature, top_p=top_p, seed=seed), most=1)
        text.take(logits(0.0, 0.5, 0.3, 0.15, 0.05))
        counts[text.produced[0]] += 1
    return counts


def test_the_nucleus_holds_just_as_much_as_it_has_to() -> None:
    assert set(drawn(0.4)) == set(drawn(1e-9)) == {1}
    two = drawn(0.6)
    assert set(two) == {1, 2} and two[1] / 400 == pytest.approx(0.5 / 0.8, abs=0.08)
    assert set(drawn(0.9)) == {1, 2, 3} and set(drawn(1.0)) == {1, 2, 3, 4}


def test_a_seed_repeats_and_logits_that_are_no_numbers_are_told() -> None:
    def sample(seed: int) -> list[int]:
        text = writing(Sampling(temperature=1.0, top_p=0.95, seed=seed))
        for _ in range(8):
            text.take(logits(0.0, 0.4, 0.3, 0.2, 0.1))
        return text.produced

    assert sample(3) == sample(3) != sample(4)
    with pytest.raises(FloatingPointError):
        writing().take(torch.tensor([float("nan")] * 5))

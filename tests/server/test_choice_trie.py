from __future__ import annotations

import math
import random

import pytest
from fintunnel_server.inference.choice_trie import ChoiceTrie


def probabilities_by_hand(
    paths: dict[str, list[int]], logit: dict[tuple[int, ...], dict[int, float]]
) -> dict[str, float]:
    result = {}
    for label, path in paths.items():
        probability = 1.0
        for at in range(len(path)):
            following = {other[at] for other in paths.values() if other[:at] == path[:at]}
            if len(following) > 1:
                here = logit[tuple(path[:at])]
                probability *= math.exp(here[path[at]]) / sum(math.exp(here[token]) for token in following)
        result[label] = probability
    return result


def test_choices_of_several_fields_are_scored_at_once() -> None:
    fields = [
        {"low": [1, 2, 3], "medium": [1, 4, 3], "high": [1, 5, 3]},  # parts after 1
        {"bearish": [1, 2, 3, 6, 7], "bullish": [1, 2, 3, 6, 8], "neutral": [1, 2, 3, 9]},  # parts twice
    ]
    trie = ChoiceTrie(fields)
    # Only what leads to a branch is fed: 1, and 2 3 6 after it.
    assert sorted(trie.tokens) == [1, 2, 3, 6]
    ways: dict[int, tuple[int, ...]] = {}
    for number, parent in enumerate(trie.parents):
        assert parent < number
        ways[number] = (*(ways[parent] if parent >= 0 else ()), trie.tokens[number])
    rng = random.Random(1)
    logit = {way: {token: rng.gauss(0, 3) for token in range(10)} for way in ways.values()}
    given = {
        number: {token: logit[ways[number]][token] for token in tokens} for number, tokens in trie.branches.items()
    }
    for scores, paths in zip(trie.probabilities(given), fields, strict=True):
        assert sum(scores.values()) == pytest.approx(1)
        assert scores == pytest.approx(probabilities_by_hand(paths, logit))


def test_a_field_with_one_choice_needs_nothing() -> None:
    trie = ChoiceTrie([{"only": [1, 2, 3]}])
    assert trie.tokens == [] and trie.branches == {}
    assert trie.probabilities({}) == [{"only": 1.0}]


def test_choices_may_part_at_the_prompts_end() -> None:
    trie = ChoiceTrie([{"a": [1], "b": [2]}])
    assert trie.tokens == [] and trie.branches == {-1: [1, 2]}
    assert trie.probabilities({-1: {1: 0.0, 2: math.log(3)}}) == [pytest.approx({"a": 0.25, "b": 0.75})]


def test_a_way_through_it_is_found_again() -> None:
    trie = ChoiceTrie([{"a": [1, 2, 3], "b": [1, 2, 4]}, {"c": [1, 2, 3, 5, 6], "d": [1, 2, 3, 5, 7]}])
    way = trie.path([1, 2, 3, 5, 6, 9])
    assert [trie.tokens[number] for number in way] == [1, 2, 3, 5]
    assert trie.path([8]) == []


def test_a_choice_that_begins_another_cannot_be_told_from_it() -> None:
    with pytest.raises(ValueError, match="beginning of another"):
        ChoiceTrie([{"a": [1, 2], "b": [1, 2, 3]}])


def test_logits_far_apart_do_not_overflow() -> None:
    trie = ChoiceTrie([{"a": [1], "b": [2]}])
    assert trie.probabilities({-1: {1: 1e4, 2: -1e4}}) == [{"a": 1.0, "b": 0.0}]

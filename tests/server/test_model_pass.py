"""A pass over many conversations gives what whole passes of each alone give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fintunnel_server.inference.model_pass import ModelPass, Segment, chain
from fintunnel_training.errors import BaseModelError

from tests.server.model_pass_rows import close, fed, some_tokens, take
from tests.server.tiny_model import VOCABULARY, plain_logits, tiny_base

# The libraries' notes to one another.
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]


def test_prompts_of_different_lengths_share_a_pass(model: ModelPass) -> None:
    texts = [some_tokens(seed, count) for seed, count in ((1, 5), (2, 17), (3, 1), (4, 9))]
    results = model.run([fed(take(model), 0, tokens) for tokens in texts])
    for tokens, (_, logits) in zip(texts, results, strict=True):
        assert close(logits, plain_logits(None, tokens)[-1])


def test_texts_go_on_token_by_token_beside_a_new_prompt(model: ModelPass) -> None:
    first, second, third = some_tokens(1, 12), some_tokens(2, 20), some_tokens(3, 7)
    rows = [take(model) for _ in range(3)]
    model.run([fed(rows[0], 0, first[:10]), fed(rows[2], 0, second[:15])])
    for step in range(2):  # the row between the two is filled meanwhile
        results = model.run(
            [
                fed(rows[2], 15 + step, [second[15 + step]]),
                *([fed(rows[1], 0, third)] if step == 0 else []),
                fed(rows[0], 10 + step, [first[10 + step]]),
            ]
        )
        assert close(results[0][1], plain_logits(None, second[: 16 + step])[-1])
        assert close(results[-1][1], plain_logits(None, first[: 11 + step])[-1])


def test_a_trie_is_scored_as_if_each_way_through_it_stood_alone(model: ModelPass) -> None:
    prompt = some_tokens(5, 11)
    #        0 ── 1 ── 2
    #        └─── 3    └── (nothing)          4 ── 5 begins at the prompt's end too
    tokens, parents = [7, 9, 11, 13, 15, 17], [-1, 0, 1, 0, -1, 4]
    row = take(model)
    model.run([fed(row, 0, prompt)])
    everything = list(range(VOCABULARY))
    compared = {number: everything for number in range(len(tokens))}
    [(scores, logits)] = model.run([Segment(row, len(prompt), -1, tokens, parents, compared)])
    assert logits is None
    for number in range(len(tokens)):
        way: list[int] = []
        at = number
        while at >= 0:
            way, at = [tokens[at], *way], parents[at]
        assert close(torch.tensor(list(scores[number].values())), plain_logits(None, prompt + way)[-1])


def test_of_a_trie_one_way_is_kept_and_gone_on_from(model: ModelPass) -> None:
    prompt = some_tokens(6, 8)
    row = take(model)
    model.run([Segment(row, 0, -1, [*prompt, 7, 9, 11, 13], [*chain(8), 7, 8, 7, 10], {})])
    model.cache.keep(row, 8, [10, 11])  # 11, 13; forgets 7, 9
    [(_, logits)] = model.run([fed(row, 10, [21])])
    assert close(logits, plain_logits(None, [*prompt, 11, 13, 21])[-1])


def test_what_many_prompts_begin_with_is_copied(model: ModelPass) -> None:
    beginning, rest = some_tokens(7, 9), some_tokens(8, 4)
    first, second = take(model), take(model)
    model.run([fed(first, 0, beginning)])
    model.cache.copy_in(second, model.cache.copy_out(first, len(beginning)))
    [(_, logits)] = model.run([fed(second, len(beginning), rest)])
    assert close(logits, plain_logits(None, beginning + rest)[-1])


def test_rows_that_grow_keep_what_they_hold(model: ModelPass) -> None:
    text = some_tokens(9, 6)
    row = take(model)
    model.run([fed(row, 0, text[:5])])
    before = model.cache.row_tokens
    take(model, 500)
    assert model.cache.row_tokens > before
    [(_, logits)] = model.run([fed(row, 5, text[5:])])
    assert close(logits, plain_logits(None, text)[-1])


def test_the_layers_see_few_numbers_of_tokens_and_padding_is_stored_nowhere(model: ModelPass) -> None:
    """Else memory grows with each number that they have not seen before."""
    seen: set[int] = set()
    model.model.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.add(given[0].shape[1]))
    row = take(model, 300)
    for count in range(1, 257):
        model.cache.memory.zero_()
        model.run([fed(row, 0, some_tokens(count, count))])
        stored = model.cache.memory.ne(0).any(-1).any(3).any(0).any(0)  # by row and column
        assert stored[row].sum() == count and stored.sum() == count
    assert len(seen) == 16 + 4 * 8  # each up to 16, eight from there to 32, to 64 and so on


def test_a_base_that_attends_in_its_own_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers would be wrong without anybody noticing: so they are compared when it starts."""
    from transformers.models.llama import modeling_llama

    base = tiny_base()
    plain = modeling_llama.apply_rotary_pos_emb

    def unlike(query: Any, key: Any, cos: Any, sin: Any) -> Any:
        query, key = plain(query, key, cos, sin)
        return (query, key * 3) if base.model.config._attn_implementation == "fintunnel" else (query, key)

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", unlike)
    with pytest.raises(BaseModelError, match="一致性"):
        ModelPass(base, max_rows=2, max_cache_bytes=2**20)

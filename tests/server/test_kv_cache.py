from __future__ import annotations

import pytest
import torch
from fintunnel_server.inference.kv_cache import KvCache


def cache(*, max_rows: int = 4, max_tokens: int = 2048) -> KvCache:
    return KvCache(
        layers=2, heads=1, width=4, dtype=torch.float32, device="cpu", max_rows=max_rows, max_tokens=max_tokens
    )


def bytes_held(cache: KvCache) -> int:
    return int(cache.memory.numel() * cache.memory.itemsize)


def test_rows_are_taken_lowest_first_and_come_back() -> None:
    ours = cache()
    assert [ours.take(100) for _ in range(5)] == [0, 1, 2, 3, None]
    ours.give_back(1)
    assert ours.take(100) == 1 and ours.rows_in_use == 4


def test_rows_times_tokens_stays_within_the_bound() -> None:
    ours = cache(max_rows=100, max_tokens=2048)
    rows = [ours.take(500) for _ in range(10)]
    assert rows == [0, 1, 2, 3, *[None] * 6]
    assert bytes_held(ours) <= 2 * 2 * 2048 * 4 * 4


def test_a_long_conversation_waits_until_there_are_few_enough() -> None:
    ours = cache(max_rows=8, max_tokens=2048)
    assert [ours.take(256) for _ in range(4)] == [0, 1, 2, 3]
    assert ours.take(900) is None  # rows of 1024: two of them
    ours.give_back(3)
    ours.give_back(2)
    assert ours.take(900) is None  # two are there already
    ours.give_back(1)
    assert ours.take(900) == 1 and ours.row_tokens == 1024


def test_what_can_never_fit_is_known_at_once() -> None:
    ours = cache(max_tokens=512)
    assert ours.fits(512) and not ours.fits(513)
    assert ours.take(512) == 0


def test_after_a_long_conversation_rows_are_short_again() -> None:
    ours = cache(max_rows=8, max_tokens=2048)
    row = ours.take(2000)
    assert row == 0 and ours.take(10) is None
    ours.give_back(0)
    assert [ours.take(10) for _ in range(8)] == list(range(8))


def test_rows_shrink_under_those_that_are_in_use_when_more_are_needed() -> None:
    ours = cache(max_rows=8, max_tokens=2048)
    assert ours.take(200) == 0 and ours.take(900) == 1
    ours.memory[:, :, 0, :, :200] = 3.0
    assert ours.take(10) is None  # two rows of 1024
    ours.give_back(1)  # the long one
    assert [ours.take(10) for _ in range(7)] == list(range(1, 8))
    assert ours.row_tokens == 256 and bool((ours.memory[:, :, 0, :, :200] == 3.0).all())


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_taking_and_giving_back_keeps_the_bound(seed: int) -> None:
    import random

    rng = random.Random(seed)
    ours, held = cache(max_rows=6, max_tokens=1500), list[int]()
    for _ in range(300):
        if held and rng.random() < 0.5:
            ours.give_back(held.pop(rng.randrange(len(held))))
        elif (row := ours.take(rng.randint(1, 1500))) is not None:
            assert row not in held
            held.append(row)
            assert row < ours.memory.shape[2]
        assert ours.memory.shape[2] * ours.row_tokens <= 1500
    for row in held:
        ours.give_back(row)
    assert ours.take(1500) is not None

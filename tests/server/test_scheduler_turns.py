"""Turns and places: who is served when, in which pass, and what a conversation keeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fintunnel_server.errors import EngineBusy
from fintunnel_server.inference.adapter_weights import read_weights
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.model_pass import ModelPass, Segment
from fintunnel_server.inference.scheduler import Scheduler

from tests.server.scheduler_jobs import PROMPT, Letters, new_sequence, score, until, write
from tests.server.tiny_model import plain_logits, write_adapter

# The libraries' notes to one another.
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]


def plain_text(prompt: Sequence[int], count: int) -> str:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(plain_logits(None, tokens)[-1].argmax()))
    return Letters().decode(tokens[len(prompt) :])


def test_a_conversation_scores_goes_on_and_writes(scheduler: Scheduler) -> None:
    sequence = new_sequence(shared=3)
    first, waiting = score(scheduler, sequence)
    waiting.result()
    logits = plain_logits(None, [*PROMPT, 10])[-1]
    shares = torch.softmax(logits[[11, 12, 13]], dim=0).tolist()
    assert first.scores == [pytest.approx(dict(zip("abc", shares, strict=True)), abs=1e-4)]
    second, waiting = score(scheduler, sequence, answer=(10, 13, 14))
    waiting.result()
    logits = plain_logits(None, [*PROMPT, 10, 13, 14])[-1]
    assert second.scores[0]["b"] == pytest.approx(float(torch.softmax(logits[[11, 12, 13]], 0)[1]), abs=1e-4)
    pieces, waiting = write(scheduler, sequence, 5, answer=(10, 13, 14, 12))
    waiting.result()
    assert "".join(pieces) == plain_text([*PROMPT, 10, 13, 14, 12], 5)
    # Back to an earlier beginning: what came after it is forgotten.
    pieces, waiting = write(scheduler, sequence, 4, answer=(10, 11))
    waiting.result()
    assert "".join(pieces) == plain_text([*PROMPT, 10, 11], 4)
    scheduler.leave(sequence)
    assert until(lambda: scheduler.rows_in_use == 0)


def test_a_shared_beginning_is_computed_once(scheduler: Scheduler, small_model: ModelPass) -> None:
    fed: list[int] = []
    plain = small_model.run

    def counting(segments: Sequence[Segment]) -> Any:
        fed.append(sum(len(segment.tokens) for segment in segments))
        return plain(segments)

    small_model.run = counting  # type: ignore[method-assign]
    scores = []
    for end in (20, 21, 20):
        sequence = new_sequence(shared=4, prompt=[5, 6, 7, 8, end])
        job, waiting = score(scheduler, sequence)
        waiting.result()
        scores.append(job.scores)
        scheduler.leave(sequence)
    assert fed == [4, 2, 2, 2] and scores[0] == scores[2] != scores[1]


def test_who_has_a_row_is_served_before_who_waits_for_one(scheduler: Scheduler) -> None:
    """Else both rows would be held for ever by conversations whose next question stands behind the newcomers."""
    held = [new_sequence(), new_sequence()]
    for sequence in held:
        score(scheduler, sequence)[1].result()
    late = [new_sequence(), new_sequence()]
    newcomers = [score(scheduler, sequence)[1] for sequence in late]
    assert until(lambda: scheduler.sequences_waiting == 2)
    for sequence in held:
        score(scheduler, sequence, answer=(10, 11))[1].result()
    assert not any(each.is_over for each in newcomers)
    scheduler.leave(held[0])
    newcomers[0].result()  # first come, first served
    assert not newcomers[1].is_over
    scheduler.leave(held[1])
    newcomers[1].result()


def test_beyond_the_bound_nobody_is_let_in(scheduler: Scheduler) -> None:
    held = [new_sequence() for _ in range(2)]
    for sequence in held:
        score(scheduler, sequence)[1].result()
    waiting = [new_sequence() for _ in range(3)]
    for sequence in waiting:
        score(scheduler, sequence)
    with pytest.raises(EngineBusy, match="排队已满（3 个）") as busy:
        score(scheduler, new_sequence())
    assert busy.value.retry_after >= 1
    score(scheduler, held[0], answer=(10, 11))[1].result()  # who is in goes on
    scheduler.leave(waiting[0])  # who gives up makes room
    assert until(lambda: scheduler.sequences_waiting == 2)
    score(scheduler, new_sequence())


def test_leaving_ends_the_text_and_frees_the_row(scheduler: Scheduler) -> None:
    sequence = new_sequence(tokens=1000)
    pieces, waiting = write(scheduler, sequence, 900)
    assert until(lambda: len(pieces) > 3)
    scheduler.leave(sequence)
    with pytest.raises(EngineBusy):
        waiting.result()
    assert until(lambda: scheduler.rows_in_use == 0)
    written = len(pieces)
    time.sleep(0.1)
    assert len(pieces) == written < 900


def test_a_long_text_does_not_hold_up_a_short_question(scheduler: Scheduler) -> None:
    pieces, long = write(scheduler, new_sequence(tokens=1000), 900)
    assert until(lambda: len(pieces) > 3)
    score(scheduler, new_sequence())[1].result()
    assert not long.is_over


def test_a_prompt_longer_than_a_pass_does_not_wait_for_those_who_write(small_model: ModelPass) -> None:
    scheduler = Scheduler(lambda: small_model, max_pass_tokens=8, max_waiting=9)
    try:
        pieces, text = write(scheduler, new_sequence(tokens=1000), 900)
        assert until(lambda: len(pieces) > 2)
        score(scheduler, new_sequence(prompt=range(20, 60)))[1].result()
        assert not text.is_over
    finally:
        scheduler.close()


def test_a_sequence_keeps_its_adapter_until_it_is_left(
    scheduler: Scheduler, small_model: ModelPass, tmp_path: Path
) -> None:
    folders = [write_adapter(tmp_path / str(seed), seed=seed) for seed in (1, 2)]

    def load(name: str, folder: Path) -> None:
        scheduler.between_passes(lambda: small_model.adapters.load(name, read_weights(folder))).result()

    load("x", folders[0])
    adapter = small_model.adapters.take("x")
    assert adapter is not None
    sequence = CachedSequence(PROMPT, shared=0, adapter=adapter, answer_tokens=32)
    score(scheduler, sequence)[1].result()
    load("x", folders[1])
    job, waiting = score(scheduler, sequence, answer=(10, 13, 14))
    waiting.result()
    logits = plain_logits(folders[0], [*PROMPT, 10, 13, 14])[-1]
    assert job.scores[0]["b"] == pytest.approx(float(torch.softmax(logits[[11, 12, 13]], 0)[1]), abs=1e-4)
    scheduler.leave(sequence)
    load("y", folders[0])
    again = small_model.adapters.take("y")
    assert again is not None and again.number == adapter.number  # its place was free

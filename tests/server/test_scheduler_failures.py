"""Memory that runs out, jobs that fail, and the end: who is meant is told, and the others go on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fintunnel_server.errors import EngineBusy, EngineFull
from fintunnel_server.inference.batcher import Batcher
from fintunnel_server.inference.jobs import ScoreJob, WriteJob
from fintunnel_server.inference.model_pass import ModelPass, Segment
from fintunnel_server.inference.scheduler import Scheduler
from fintunnel_server.inference.writing import Writing

from tests.server.scheduler_jobs import Letters, Waiting, new_sequence, score, until, write
from tests.server.tiny_model import plain_logits

# The libraries' notes to one another.
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]


def test_what_can_never_fit_is_told_at_once(scheduler: Scheduler) -> None:
    with pytest.raises(EngineFull, match="FINTUNNEL_KV_CACHE_MIB"):
        score(scheduler, new_sequence(tokens=10_000_000))


def test_full_memory_makes_passes_smaller_and_loses_nothing(small_model: ModelPass) -> None:
    plain, sizes = small_model.run, list[int]()

    def small(segments: Sequence[Segment]) -> Any:
        sizes.append(sum(len(segment.tokens) for segment in segments))
        if sizes[-1] > 12:
            raise torch.OutOfMemoryError("no memory")
        return plain(segments)

    gate = threading.Event()
    scheduler = Scheduler(lambda: small_model, max_pass_tokens=256, max_waiting=9)
    try:
        scheduler.between_passes(lambda: gate.wait(10))  # so that both come into one pass
        small_model.run = small  # type: ignore[method-assign]
        sequences = [new_sequence(prompt=range(20, 28)), new_sequence(prompt=range(30, 38))]
        jobs = [score(scheduler, sequence) for sequence in sequences]
        gate.set()
        for (job, waiting), sequence in zip(jobs, sequences, strict=True):
            waiting.result()
            logits = plain_logits(None, [*sequence.prompt, 10])[-1]
            assert job.scores[0]["a"] == pytest.approx(float(torch.softmax(logits[[11, 12, 13]], 0)[0]), abs=1e-4)
        assert max(sizes) > 12 and sizes[-1] <= 12
    finally:
        scheduler.close()


def test_what_does_not_fit_alone_is_dropped_and_the_rest_goes_on(small_model: ModelPass) -> None:
    plain = small_model.run

    def small(segments: Sequence[Segment]) -> Any:
        if any(len(segment.tokens) > 30 for segment in segments):
            raise torch.OutOfMemoryError("no memory")
        return plain(segments)

    small_model.run = small  # type: ignore[method-assign]
    scheduler = Scheduler(lambda: small_model, max_pass_tokens=256, max_waiting=9)
    try:
        writer = new_sequence(tokens=400)
        pieces, text = write(scheduler, writer, 300)
        assert until(lambda: len(pieces) > 2)
        huge = new_sequence(prompt=range(20, 80))
        with pytest.raises(EngineFull, match="显存不足"):
            score(scheduler, huge)[1].result()
        scheduler.leave(huge)
        text.result()
        assert len(pieces) == 300
        scheduler.leave(writer)
        # Afterwards there may be as many as before: whoever took the memory may be gone.
        assert until(lambda: scheduler.rows_in_use == 0)
        for sequence in (new_sequence(), new_sequence()):
            score(scheduler, sequence)[1].result()
        assert scheduler.rows_in_use == 2
    finally:
        scheduler.close()


def test_where_no_row_can_be_had_who_asks_is_told(small_model: ModelPass, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has taken the memory: nothing is under way that could give some back."""

    def full(tokens: int) -> int:
        raise RuntimeError(f"no memory for {tokens} tokens")

    plain = small_model.cache.take
    monkeypatch.setattr(small_model.cache, "take", full)
    scheduler = Scheduler(lambda: small_model, max_pass_tokens=256, max_waiting=9)
    try:
        for _ in range(2):
            with pytest.raises(EngineFull, match="显存不足"):
                score(scheduler, new_sequence())[1].result()
        assert scheduler.sequences_waiting == 0
        monkeypatch.setattr(small_model.cache, "take", plain)
        held = new_sequence()
        score(scheduler, held)[1].result()
        monkeypatch.setattr(small_model.cache, "take", full)
        _, late = score(scheduler, new_sequence())
        score(scheduler, held, answer=(10, 11))[1].result()
        assert not late.is_over  # it waits for the row
        monkeypatch.setattr(small_model.cache, "take", plain)
        scheduler.leave(held)
        late.result()
    finally:
        scheduler.close()


def test_who_makes_a_pass_fail_fails_alone(scheduler: Scheduler, small_model: ModelPass) -> None:
    plain = small_model.run

    def broken(segments: Sequence[Segment]) -> Any:
        if any(66 in segment.tokens for segment in segments):
            raise RuntimeError("broken at 66")
        return plain(segments)

    gate = threading.Event()
    scheduler.between_passes(lambda: gate.wait(10))  # so that both come into one pass
    small_model.run = broken  # type: ignore[method-assign]
    _, bad = score(scheduler, new_sequence(prompt=[5, 66, 7]))
    good, waiting = score(scheduler, new_sequence())
    gate.set()
    with pytest.raises(RuntimeError, match="broken at 66"):
        bad.result()
    waiting.result()
    assert good.scores


def test_a_text_that_cannot_go_on_fails_alone(scheduler: Scheduler) -> None:
    class Broken(Letters):
        def decode(self, tokens: Sequence[int], **options: object) -> str:
            raise ValueError(f"no such token: {tokens} {options}")

    waiting = Waiting()
    writing = Writing(Broken(), frozenset(), max_tokens=5)
    scheduler.submit(WriteJob(new_sequence(), waiting.done, answer=(10,), writing=writing))
    with pytest.raises(ValueError, match="no such token"):
        waiting.result()
    score(scheduler, new_sequence())[1].result()


def test_a_leave_that_fails_loses_nobody_who_came_with_it(
    scheduler: Scheduler, small_model: ModelPass, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(adapter: object) -> None:
        raise torch.OutOfMemoryError(f"no memory without {adapter}")

    monkeypatch.setattr(small_model.adapters, "give_back", full)
    gate = threading.Event()
    scheduler.between_passes(lambda: gate.wait(10))  # so that both are taken together
    scheduler.leave(new_sequence())
    _, waiting = score(scheduler, new_sequence())
    gate.set()
    waiting.result()


def test_a_text_of_no_numbers_is_an_error_and_no_text(scheduler: Scheduler, small_model: ModelPass) -> None:
    plain = small_model.run

    def spoilt(segments: Sequence[Segment]) -> Any:
        return [(compared, None if logits is None else logits * float("nan")) for compared, logits in plain(segments)]

    small_model.run = spoilt  # type: ignore[method-assign]
    _, waiting = write(scheduler, new_sequence(), 5)
    with pytest.raises(FloatingPointError):
        waiting.result()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_inference_thread_is_told_and_leaves_nobody_waiting(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.check()
    _, text = write(scheduler, new_sequence(tokens=1000), 900)

    def broken(_: Batcher) -> bool:
        raise MemoryError

    monkeypatch.setattr(Batcher, "run", broken)
    with pytest.raises(EngineFull, match="请重新启动"):
        text.result()
    with pytest.raises(EngineFull, match="请重新启动"):
        score(scheduler, new_sequence())
    with pytest.raises(EngineFull, match="请重新启动"):
        scheduler.between_passes(lambda: None)
    with pytest.raises(EngineFull, match="请重新启动"):
        scheduler.check()
    scheduler.leave(new_sequence())


def test_a_question_that_makes_no_sense_fails_alone(scheduler: Scheduler) -> None:
    waiting = Waiting()
    scheduler.submit(ScoreJob(new_sequence(), waiting.done, paths=[{"a": [10, 11], "b": [10, 11, 12]}]))
    with pytest.raises(ValueError, match="beginning of another"):
        waiting.result()
    score(scheduler, new_sequence())[1].result()


def test_closing_ends_what_is_under_way(small_model: ModelPass) -> None:
    scheduler = Scheduler(lambda: small_model, max_pass_tokens=256, max_waiting=3)
    _, waiting = write(scheduler, new_sequence(tokens=1000), 900)
    scheduler.close()
    with pytest.raises(EngineBusy, match="正在停止"):
        waiting.result()
    with pytest.raises(EngineBusy, match="正在停止"):
        score(scheduler, new_sequence())

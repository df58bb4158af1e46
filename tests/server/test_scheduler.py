"""Turns, places and full memory, with a tiny model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fintunnel_server.engine import Piece
from fintunnel_server.errors import EngineBusy, EngineFull
from fintunnel_server.inference.adapter_weights import read_weights
from fintunnel_server.inference.batcher import Batcher
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.jobs import ScoreJob, WriteJob
from fintunnel_server.inference.model_pass import ModelPass, Segment
from fintunnel_server.inference.scheduler import Scheduler
from fintunnel_server.inference.writing import Writing

from tests.server.tiny_model import plain_logits, tiny_base, write_adapter

# The libraries' notes to one another.
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]

PROMPT = [5, 6, 7, 8, 9]


class Letters:
    """A tokenizer whose tokens are characters."""

    def decode(self, tokens: Sequence[int], **options: object) -> str:
        del options
        return "".join(chr(0x4E00 + token) for token in tokens)


class Waiting:
    """The end of a job, to be waited for from another thread."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: BaseException | None = None

    def done(self, error: BaseException | None) -> None:
        self._error = error
        self._over.set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def result(self) -> None:
        assert self._over.wait(20)
        if self._error is not None:
            raise self._error


@pytest.fixture
def model() -> ModelPass:
    return ModelPass(tiny_base(), max_rows=2, max_cache_bytes=2**20)


@pytest.fixture
def scheduler(model: ModelPass) -> Iterator[Scheduler]:
    scheduler = Scheduler(lambda: model, max_pass_tokens=256, max_waiting=3)
    yield scheduler
    scheduler.close()


def new_sequence(*, tokens: int = 32, shared: int = 0, prompt: Sequence[int] = PROMPT) -> CachedSequence:
    return CachedSequence(prompt, shared=shared, adapter=None, answer_tokens=tokens)


def score(scheduler: Scheduler, sequence: CachedSequence, answer: Sequence[int] = (10,)) -> tuple[ScoreJob, Waiting]:
    waiting = Waiting()
    job = ScoreJob(sequence, waiting.done, paths=[{"a": [*answer, 11], "b": [*answer, 12], "c": [*answer, 13, 14]}])
    scheduler.submit(job)
    return job, waiting


def write(
    scheduler: Scheduler, sequence: CachedSequence, tokens: int, answer: Sequence[int] = (10,)
) -> tuple[list[str], Waiting]:
    waiting = Waiting()
    pieces: list[str] = []
    writing = Writing(Letters(), frozenset(), max_tokens=tokens)

    def give(piece: Piece) -> None:
        pieces.append(piece.text)

    job = WriteJob(sequence, waiting.done, answer=answer, writing=writing, piece=give)
    scheduler.submit(job)
    return pieces, waiting


def plain_text(prompt: Sequence[int], count: int) -> str:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(plain_logits(None, tokens)[-1].argmax()))
    return Letters().decode(tokens[len(prompt) :])


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not holds():
        time.sleep(0.005)
    return holds()


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


def test_a_shared_beginning_is_computed_once(scheduler: Scheduler, model: ModelPass) -> None:
    fed: list[int] = []
    plain = model.run

    def counting(segments: Sequence[Segment]) -> Any:
        fed.append(sum(len(segment.tokens) for segment in segments))
        return plain(segments)

    model.run = counting  # type: ignore[method-assign]
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


def test_what_can_never_fit_is_told_at_once(scheduler: Scheduler) -> None:
    with pytest.raises(EngineFull, match="FINTUNNEL_KV_CACHE_MIB"):
        score(scheduler, new_sequence(tokens=10_000_000))


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


def test_full_memory_makes_passes_smaller_and_loses_nothing(model: ModelPass) -> None:
    plain, sizes = model.run, list[int]()

    def small(segments: Sequence[Segment]) -> Any:
        sizes.append(sum(len(segment.tokens) for segment in segments))
        if sizes[-1] > 12:
            raise torch.OutOfMemoryError("no memory")
        return plain(segments)

    gate = threading.Event()
    scheduler = Scheduler(lambda: model, max_pass_tokens=256, max_waiting=9)
    try:
        scheduler.between_passes(lambda: gate.wait(10))  # so that both come into one pass
        model.run = small  # type: ignore[method-assign]
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


def test_what_does_not_fit_alone_is_dropped_and_the_rest_goes_on(model: ModelPass) -> None:
    plain = model.run

    def small(segments: Sequence[Segment]) -> Any:
        if any(len(segment.tokens) > 30 for segment in segments):
            raise torch.OutOfMemoryError("no memory")
        return plain(segments)

    model.run = small  # type: ignore[method-assign]
    scheduler = Scheduler(lambda: model, max_pass_tokens=256, max_waiting=9)
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


def test_where_no_row_can_be_had_who_asks_is_told(model: ModelPass, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has taken the memory: nothing is under way that could give some back."""

    def full(tokens: int) -> int:
        raise RuntimeError(f"no memory for {tokens} tokens")

    plain = model.cache.take
    monkeypatch.setattr(model.cache, "take", full)
    scheduler = Scheduler(lambda: model, max_pass_tokens=256, max_waiting=9)
    try:
        for _ in range(2):
            with pytest.raises(EngineFull, match="显存不足"):
                score(scheduler, new_sequence())[1].result()
        assert scheduler.sequences_waiting == 0
        monkeypatch.setattr(model.cache, "take", plain)
        held = new_sequence()
        score(scheduler, held)[1].result()
        monkeypatch.setattr(model.cache, "take", full)
        _, late = score(scheduler, new_sequence())
        score(scheduler, held, answer=(10, 11))[1].result()
        assert not late.is_over  # it waits for the row
        monkeypatch.setattr(model.cache, "take", plain)
        scheduler.leave(held)
        late.result()
    finally:
        scheduler.close()


def test_a_prompt_longer_than_a_pass_does_not_wait_for_those_who_write(model: ModelPass) -> None:
    scheduler = Scheduler(lambda: model, max_pass_tokens=8, max_waiting=9)
    try:
        pieces, text = write(scheduler, new_sequence(tokens=1000), 900)
        assert until(lambda: len(pieces) > 2)
        score(scheduler, new_sequence(prompt=range(20, 60)))[1].result()
        assert not text.is_over
    finally:
        scheduler.close()


def test_a_sequence_keeps_its_adapter_until_it_is_left(scheduler: Scheduler, model: ModelPass, tmp_path: Path) -> None:
    folders = [write_adapter(tmp_path / str(seed), seed=seed) for seed in (1, 2)]

    def load(name: str, folder: Path) -> None:
        scheduler.between_passes(lambda: model.adapters.load(name, read_weights(folder))).result()

    load("x", folders[0])
    adapter = model.adapters.take("x")
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
    again = model.adapters.take("y")
    assert again is not None and again.number == adapter.number  # its place was free


def test_who_makes_a_pass_fail_fails_alone(scheduler: Scheduler, model: ModelPass) -> None:
    plain = model.run

    def broken(segments: Sequence[Segment]) -> Any:
        if any(66 in segment.tokens for segment in segments):
            raise RuntimeError("broken at 66")
        return plain(segments)

    gate = threading.Event()
    scheduler.between_passes(lambda: gate.wait(10))  # so that both come into one pass
    model.run = broken  # type: ignore[method-assign]
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
    scheduler: Scheduler, model: ModelPass, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(adapter: object) -> None:
        raise torch.OutOfMemoryError(f"no memory without {adapter}")

    monkeypatch.setattr(model.adapters, "give_back", full)
    gate = threading.Event()
    scheduler.between_passes(lambda: gate.wait(10))  # so that both are taken together
    scheduler.leave(new_sequence())
    _, waiting = score(scheduler, new_sequence())
    gate.set()
    waiting.result()


def test_a_text_of_no_numbers_is_an_error_and_no_text(scheduler: Scheduler, model: ModelPass) -> None:
    plain = model.run

    def spoilt(segments: Sequence[Segment]) -> Any:
        return [(compared, None if logits is None else logits * float("nan")) for compared, logits in plain(segments)]

    model.run = spoilt  # type: ignore[method-assign]
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


def test_closing_ends_what_is_under_way(model: ModelPass) -> None:
    scheduler = Scheduler(lambda: model, max_pass_tokens=256, max_waiting=3)
    _, waiting = write(scheduler, new_sequence(tokens=1000), 900)
    scheduler.close()
    with pytest.raises(EngineBusy, match="正在停止"):
        waiting.result()
    with pytest.raises(EngineBusy, match="正在停止"):
        score(scheduler, new_sequence())

"""One conversation with the model in this process: `Conversation` over the scheduler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from fintunnel_server.engine import Field, Piece, Sampling, Scores, Work
from fintunnel_server.inference.cached_sequence import CachedSequence
from fintunnel_server.inference.jobs import ScoreJob, WriteJob
from fintunnel_server.inference.json_constraint import JsonConstraints
from fintunnel_server.inference.scheduler import Scheduler
from fintunnel_server.inference.writing import Writing

__all__ = ["LocalConversation", "encode"]

_END = object()


class LocalConversation:
    """Calls become jobs of the inference thread, whose results come back to the loop that asked."""

    def __init__(
        self,
        scheduler: Scheduler,
        tokenizer: Any,
        end_tokens: frozenset[int],
        sequence: CachedSequence,
        constraints: JsonConstraints,
        *,
        prompt: list[int],
        text: str,
    ) -> None:
        """`prompt`: its tokens; `text`: the same as text, up to where the answer begins."""
        self.work = Work(prompt_tokens=len(prompt))
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._sequence = sequence
        self._constraints = constraints
        self._prompt = prompt
        self._text = text

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        texts = [field.prefix + choice for field in fields for choice in field.choices.values()]
        tokens = iter(self._tokens(texts))
        paths = [{label: next(tokens) for label in field.choices} for field in fields]
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: BaseException | None) -> None:
            _tell(loop, _set, done, error)

        job = ScoreJob(self._sequence, finish, paths=paths)
        self._scheduler.submit(job)
        await done
        self._account(job)
        return [Scores(max(scores, key=scores.__getitem__), scores) for scores in job.scores]

    async def write(self, prefix: str, *, max_tokens: int, in_json_string: bool = False) -> AsyncGenerator[str, None]:
        writing = Writing(self._tokenizer, self._end_tokens, max_tokens=max_tokens, in_json_string=in_json_string)
        async with aclosing(self._pieces(prefix, writing)) as pieces:
            async for piece in pieces:
                yield piece.text

    async def reply(self, *, max_tokens: int, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        schema = sampling.json_schema
        # Off the loop: a stranger's schema may take its time.
        constraint = None if schema is None else await asyncio.to_thread(self._constraints.compile, schema)
        writing = Writing(
            self._tokenizer, self._end_tokens, max_tokens=max_tokens, sampling=sampling, constraint=constraint
        )
        async with aclosing(self._pieces("", writing)) as pieces:
            async for piece in pieces:
                yield piece

    async def _pieces(self, prefix: str, writing: Writing) -> AsyncGenerator[Piece, None]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Any] = asyncio.Queue()

        def finish(error: BaseException | None) -> None:
            _tell(loop, pieces.put_nowait, error or _END)

        def give(piece: Piece) -> None:
            _tell(loop, pieces.put_nowait, piece)

        [answer] = self._tokens([prefix])
        job = WriteJob(self._sequence, finish, answer=answer, writing=writing, piece=give)
        self._scheduler.submit(job)
        try:
            while (piece := await pieces.get()) is not _END:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:  # also where the caller has had enough
            self._account(job)
            self.work.completion_tokens += len(writing.produced)
            self.work.finish_reason = writing.finished or "stop"

    def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        raise NotImplementedError("this engine continues answers")

    def _tokens(self, answers: Sequence[str]) -> list[list[int]]:
        """What follows the tokens that the sequence's prompt holds, for each beginning of an answer."""
        known = self._sequence.prompt
        encoded = encode(self._tokenizer, [self._text + answer for answer in answers])
        for number, answer in enumerate(answers):
            if not answer:  # the template may put more before an answer than it lets the model begin with
                encoded[number] = self._prompt
        if any(ids[: len(known)] != known for ids in encoded):
            raise ValueError("the tokenizer cuts this prompt otherwise where an answer follows it")
        return [ids[len(known) :] for ids in encoded]

    def _account(self, job: ScoreJob | WriteJob) -> None:
        ended = job.ended or time.monotonic()
        began = job.began or ended
        self.work.queue_seconds += began - job.asked
        self.work.model_seconds += ended - began


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        loop.call_soon_threadsafe(call, *arguments)


def _set(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():  # its caller has left
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of whole prompts: nothing is added to them."""
    tokens: list[list[int]] = tokenizer(list(texts), add_special_tokens=False).input_ids
    return tokens

"""One prompt and its answer at an upstream: `Conversation` over chat completions."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from fintunnel.errors import PromptRejectedError, PromptTooLongError
from fintunnel.json_string import JsonStringReader
from fintunnel.prompt import Message

from fintunnel_server.engine import Field, Piece, Sampling, Scores, Work
from fintunnel_server.errors import SamplingRejected, SchemaRejected, UpstreamAnswerInvalid, UpstreamRefused
from fintunnel_server.upstream.abilities import CONSTRAINTS, Abilities, chat_body, json_format_fields
from fintunnel_server.upstream.connection import Connection, Waiting
from fintunnel_server.upstream.replies import Reply, TopToken
from fintunnel_server.upstream.scoring import gather, score_field

__all__ = ["UpstreamConversation"]

logger = logging.getLogger("fintunnel.upstream")

_CHOICE_TOKENS = 64
_SECOND_TEMPERATURE = 0.5
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)|maximum.{0,20}(length|tokens)|too.(long|many.tokens)", re.I)
_TEMPLATE = re.compile(r"\broles?\b|alternate|chat.?template|jinja", re.I)


class UpstreamConversation:
    """`work` counts the prompt once and what was written, as the local engine does: not the upstream's bill, which has
    a request for each scored field. Where the upstream does not count a stream, each piece counts as a token."""

    def __init__(
        self,
        connection: Connection,
        model: str,
        messages: Sequence[Message],
        abilities: Abilities,
        extra: Mapping[str, object],
        prompt_tokens: int,
    ) -> None:
        """`extra`: fields of every request. `prompt_tokens`: estimated, for streams that count nothing."""
        self._connection = connection
        self._model = model
        self._messages = messages
        self._abilities = abilities
        self._extra = extra
        self._estimated = prompt_tokens
        self._counted: int | None = None
        self._work = Work()
        self._written: list[AsyncGenerator[str, None] | AsyncGenerator[Piece, None]] = []
        self._answers_asked = 0

    @property
    def work(self) -> Work:
        return self._work

    async def close(self) -> None:
        """End what is still being written: the upstream's connection is closed, so that it stops."""
        for pieces in self._written:
            await pieces.aclose()

    async def score(self, fields: Sequence[Field]) -> list[Scores]:
        """Fields are asked concurrently; what they have in common is in the upstream's prefix cache, if it has one.

        Where none of a field's choices is among the likeliest tokens there are no probabilities, and the choice is
        the upstream's among the given texts, or the first where it cannot be confined to them.
        """
        if not self._abilities.continues_answers:
            raise ValueError("this upstream does not continue answers")
        waits = [Waiting() for _ in fields]
        with self._timed(*waits):
            return await gather(*(self._score(field, waiting) for field, waiting in zip(fields, waits, strict=True)))

    async def _score(self, field: Field, waiting: Waiting) -> Scores:
        async def next_tokens(prefix: str) -> list[TopToken]:
            more = {"logprobs": True, "top_logprobs": self._abilities.top_logprobs}
            reply = await self._complete(waiting, prefix, max_tokens=1, more=more)
            return reply.top_tokens

        if self._abilities.top_logprobs > 0:
            probabilities = await score_field(field, next_tokens)
            if probabilities is not None:
                return Scores(max(probabilities, key=probabilities.__getitem__), probabilities)
        return Scores(await self._choose(field, waiting), None)

    async def _choose(self, field: Field, waiting: Waiting) -> str:
        if self._abilities.constraint is None:
            logger.warning("no choice of %r is among the upstream's likeliest tokens; taking the first", field.prefix)
            return next(iter(field.choices))
        more = CONSTRAINTS[self._abilities.constraint](list(field.choices.values()))
        reply = await self._complete(waiting, field.prefix, max_tokens=_CHOICE_TOKENS, more=more)
        for label, text in field.choices.items():
            if reply.text.startswith(text):
                return label
        raise UpstreamAnswerInvalid("上游模型服务没有从给定的答案里选", detail=repr(reply.text[:100]))

    def write(self, prefix: str, *, max_tokens: int, in_json_string: bool = False) -> AsyncIterator[str]:
        if prefix and self._abilities.continuation is None:
            raise ValueError("this upstream does not continue answers")
        body = self._body(prefix, {}, max_tokens=max_tokens)
        pieces = self._texts(body, JsonStringReader() if in_json_string else None)
        self._written.append(pieces)
        return pieces

    def reply(self, *, max_tokens: int, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        more: dict[str, object] = {} if sampling.top_p == 1 else {"top_p": sampling.top_p}
        if sampling.json_schema is not None:
            if not self._abilities.keeps_schema:
                raise SchemaRejected("上游模型服务不能保证回答符合 JSON Schema，请去掉 response_format 或 tools。")
            more |= json_format_fields("json_schema", sampling.json_schema)
        if sampling.top_logprobs is not None:
            most = self._abilities.top_logprobs
            if most == 0:
                raise SamplingRejected("上游模型服务不给出 logprobs。", param="logprobs")
            if sampling.top_logprobs > most:
                raise SamplingRejected(f"上游模型服务最多给出 {most} 个 top_logprobs。", param="top_logprobs")
            more |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        body = self._body("", more, max_tokens=max_tokens, temperature=sampling.temperature, seed=sampling.seed)
        pieces = self._pieces(body)
        self._written.append(pieces)
        return pieces

    async def _texts(self, body: dict[str, Any], string: JsonStringReader | None) -> AsyncGenerator[str, None]:
        async with aclosing(self._pieces(body)) as pieces:
            async for piece in pieces:
                text = string.feed(piece.text) if string is not None else piece.text
                if text:
                    yield text
                if string is not None and string.closed:
                    break
        if string is not None and string.closed:
            self._work.finish_reason = "stop"

    async def _pieces(self, body: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        waiting = Waiting()
        pieces, counted, finish_reason = 0, None, None
        try:
            with self._timed(waiting), self._refusals_told():
                async with aclosing(self._replies(body, waiting)) as replies:
                    async for reply in replies:
                        pieces += bool(reply.text)
                        self._count_prompt(reply)
                        counted = counted if reply.completion_tokens is None else reply.completion_tokens
                        finish_reason = reply.finish_reason or finish_reason
                        if reply.text or reply.tokens:
                            yield Piece(reply.text, reply.tokens)
        finally:
            self._work.finish_reason = finish_reason or "stop"
            self._work.completion_tokens += pieces if counted is None else counted

    async def _replies(self, body: dict[str, Any], waiting: Waiting) -> AsyncGenerator[Reply, None]:
        if self._abilities.stream_options is None:
            yield await self._connection.complete(body, waiting)
            return
        streamed = self._connection.stream(body | {"stream": True, **self._abilities.stream_options}, waiting)
        async with aclosing(streamed) as replies:
            async for reply in replies:
                yield reply

    async def write_json(self, schema: Mapping[str, object], *, max_tokens: int) -> AsyncIterator[str]:
        """The answer in one piece, unchecked. Asked again in the same conversation it is sampled: greedily the same
        would come."""
        temperature = _SECOND_TEMPERATURE if self._answers_asked else 0.0
        self._answers_asked += 1
        waiting = Waiting()
        with self._timed(waiting):
            more = json_format_fields(self._abilities.json_format, schema)
            reply = await self._complete(waiting, "", max_tokens=max_tokens, temperature=temperature, more=more)
        self._work.finish_reason = reply.finish_reason or "stop"
        self._work.completion_tokens += reply.completion_tokens or 0
        yield reply.text

    async def _complete(
        self,
        waiting: Waiting,
        prefix: str,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        more: Mapping[str, object],
    ) -> Reply:
        body = self._body(prefix, more, max_tokens=max_tokens, temperature=temperature)
        with self._refusals_told():
            reply = await self._connection.complete(body, waiting)
        self._count_prompt(reply)
        return reply

    def _body(
        self,
        prefix: str,
        more: Mapping[str, object],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> dict[str, Any]:
        messages = list(self._messages)
        fields = {**self._extra, **more}
        if prefix:
            messages.append({"role": "assistant", "content": prefix})
            fields |= self._abilities.continuation or {}
        return chat_body(self._model, messages, max_tokens=max_tokens, temperature=temperature, seed=seed, more=fields)

    def _count_prompt(self, reply: Reply) -> None:
        """The shortest counts: others hold more of the answer's beginning."""
        if reply.prompt_tokens is not None:
            self._counted = min(reply.prompt_tokens, self._counted or reply.prompt_tokens)
        self._work.prompt_tokens = self._counted or self._estimated

    @contextmanager
    def _timed(self, *waits: Waiting) -> Iterator[None]:
        """`waits`: of calls side by side, of which the longest counts."""
        began = time.monotonic()
        try:
            yield
        finally:
            passed = time.monotonic() - began
            waited = min(max(waiting.seconds for waiting in waits), passed)
            self._work.queue_seconds += waited
            self._work.model_seconds += passed - waited

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        """What the upstream refuses for the sake of the caller's text becomes the caller's error."""
        try:
            yield
        except UpstreamRefused as error:
            if error.status in (400, 413, 422) and _TOO_LONG.search(error.detail):
                raise PromptTooLongError("提示词超过了上游模型的长度上限，请缩短内容。") from error
            if error.status in (400, 422) and _TEMPLATE.search(error.detail):
                raise PromptRejectedError("这个模型的对话模板不接受这样的对话") from error
            raise

"""Finds out at start what an upstream offers, from a handful of short requests. Doubt counts as "no".

A server that ignores fields that it does not know would answer afresh, and its answer would be taken for a
continuation. So two things are checked, which fail in different ways. The prompt's length: going on with a beginning
leaves out the end of the turn and the header of the next, and the server's own token counts show that. The text: what
comes after a word's first half is its second half.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fintunnel.prompt import Message, render_prompt
from fintunnel.wire import IMPACTS, NewsRequest

from fintunnel_server.errors import UpstreamAnswerInvalid, UpstreamRefused
from fintunnel_server.upstream.abilities import (
    CONSTRAINTS,
    CONTINUATIONS,
    STREAM_OPTIONS,
    Abilities,
    Constraint,
    JsonFormat,
    chat_body,
    json_format_fields,
)
from fintunnel_server.upstream.connection import Connection, Waiting
from fintunnel_server.upstream.replies import Reply
from fintunnel_server.upstream.scoring import gather
from fintunnel_server.upstream.token_estimate import (
    ASCII_SAMPLE,
    SHORTEST_SAMPLE,
    WIDE_SAMPLE,
    TokenEstimate,
    measured,
)

__all__ = ["probe"]

_WORDS = "red blue green yellow"
_DAYS = "Write the days of the week in English, separated by commas."
_DAYS_BEGUN, _DAYS_GO_ON = "Monday, Tuesday, Wednesday, Thurs", "day"
_NEWS = render_prompt(NewsRequest(text="美联储宣布加息25个基点")).messages()
_NEWS_BEGUN = '{"impact":"'
_UNLIKELY = ("xylophone", "zeppelin")
_TOP_LOGPROBS = (20, 5)  # OpenAI's limit, and that of more careful servers
_SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


async def probe(connection: Connection, model: str, extra: Mapping[str, object]) -> tuple[Abilities, TokenEstimate]:
    """Ask the model of an upstream.

    Args:
        extra: fields that go into every request.

    Raises:
        UpstreamError: it does not answer even a plain request.
    """
    return await _Probe(connection, model, extra).run()


class _Probe:
    def __init__(self, connection: Connection, model: str, extra: Mapping[str, object]) -> None:
        self._connection = connection
        self._model = model
        self._extra = extra

    async def run(self) -> tuple[Abilities, TokenEstimate]:
        shortest = await self._ask(_user(SHORTEST_SAMPLE), 1)
        wide, ascii_ = await gather(self._ask(_user(WIDE_SAMPLE), 1), self._ask(_user(ASCII_SAMPLE), 1))
        estimate = measured(shortest.prompt_tokens, wide.prompt_tokens, ascii_.prompt_tokens)
        stream_options = await self._stream_options()
        keeps_schema = await self._keeps_schema()
        continuation = await self._continuation(shortest.prompt_tokens)
        top_logprobs = await self._top_logprobs(continuation)
        if continuation is not None:
            abilities = Abilities(
                continuation=continuation,
                top_logprobs=top_logprobs,
                constraint=await self._constraint(continuation),
                stream_options=stream_options,
                keeps_schema=keeps_schema,
            )
            if abilities.continues_answers:
                return abilities, estimate
        abilities = Abilities(
            top_logprobs=top_logprobs,
            stream_options=stream_options,
            json_format="json_schema" if keeps_schema else await self._json_format(),
            keeps_schema=keeps_schema,
        )
        return abilities, estimate

    async def _ask(
        self, messages: Sequence[Message], max_tokens: int, more: Mapping[str, object] | None = None
    ) -> Reply:
        body = chat_body(self._model, messages, max_tokens=max_tokens, more={**self._extra, **(more or {})})
        return await self._connection.complete(body, Waiting())

    async def _try(self, messages: Sequence[Message], max_tokens: int, more: Mapping[str, object]) -> Reply | None:
        """None where the server does not accept such a request, or answers it with something else."""
        try:
            return await self._ask(messages, max_tokens, more)
        except (UpstreamRefused, UpstreamAnswerInvalid):
            return None

    async def _continuation(self, shortest: int | None) -> Mapping[str, object] | None:
        for fields in CONTINUATIONS:
            if await self._continues_prompt(fields, shortest) and await self._continues_text(fields):
                return fields
        return None

    async def _continues_prompt(self, fields: Mapping[str, object], without: int | None) -> bool:
        """Whether the prompt that holds the beginning of an answer ends with it, by the server's token counts.

        `without`: tokens of the same conversation without the beginning.
        """
        once, twice = _user(SHORTEST_SAMPLE, _WORDS), _user(SHORTEST_SAMPLE, f"{_WORDS} {_WORDS}")
        begun, begun_twice, afresh = await gather(
            self._try(once, 1, fields), self._try(twice, 1, fields), self._try(once, 1, {})
        )
        one, two, closed = (None if each is None else each.prompt_tokens for each in (begun, begun_twice, afresh))
        if one is None or two is None or without is None or two <= one:
            return False
        # Either the fields make the prompt shorter than a finished turn and a new one would be, or (where servers
        # continue without being told) the words are all that came on top.
        return (closed is not None and one < closed) or one - without <= two - one

    async def _continues_text(self, fields: Mapping[str, object]) -> bool:
        """Whether the answer goes on in the middle of a word. A model trained on nothing but analyses may have
        forgotten the days of the week: then the label of an analysis will do."""
        days = await self._try(_user(_DAYS, _DAYS_BEGUN), 4, fields)
        if days is not None and days.text.startswith(_DAYS_GO_ON):
            return True
        news = await self._try([*_NEWS, {"role": "assistant", "content": _NEWS_BEGUN}], 4, fields)
        return news is not None and news.text.startswith(IMPACTS)

    async def _top_logprobs(self, continuation: Mapping[str, object] | None) -> int:
        for count in _TOP_LOGPROBS:
            more = {**(continuation or {}), "logprobs": True, "top_logprobs": count}
            reply = await self._try(_user(_DAYS, None if continuation is None else _DAYS_BEGUN), 1, more)
            if reply is None:
                continue
            total = sum(token.probability for token in reply.top_tokens)
            # Greedy: what was written is the likeliest token. What adds up to more than 1 is something else.
            likeliest = max(reply.top_tokens, key=lambda token: token.probability, default=None)
            if likeliest is not None and likeliest.text == reply.text and len(reply.top_tokens) > 1 and total < 1.01:
                return count
        return 0

    async def _constraint(self, continuation: Mapping[str, object]) -> Constraint | None:
        for name, fields in CONSTRAINTS.items():
            reply = await self._try(_user(_DAYS, _DAYS_BEGUN), 16, {**continuation, **fields(_UNLIKELY)})
            if reply is not None and reply.text in _UNLIKELY:
                return name
        return None

    async def _stream_options(self) -> Mapping[str, object] | None:
        for fields in STREAM_OPTIONS:
            body = chat_body(self._model, _user(SHORTEST_SAMPLE), max_tokens=1, more={**self._extra, "stream": True})
            try:
                async for _ in self._connection.stream(body | dict(fields), Waiting()):
                    pass
                return fields
            except (UpstreamRefused, UpstreamAnswerInvalid):
                continue
        return None

    async def _keeps_schema(self) -> bool:
        """Whether an answer satisfies a schema that nobody would think of."""
        wanted = {**_SCHEMA, "properties": {"ok": {"enum": [_UNLIKELY[1]]}}}
        reply = await self._try(_user(_DAYS), 16, json_format_fields("json_schema", wanted))
        try:
            return reply is not None and json.loads(reply.text) == {"ok": _UNLIKELY[1]}
        except ValueError:
            return False

    async def _json_format(self) -> JsonFormat:
        question = _user('Answer in JSON: {"ok":true}')
        formats: tuple[JsonFormat, ...] = ("json_schema", "json_object")
        for format_ in formats:
            if await self._try(question, 16, json_format_fields(format_, _SCHEMA)) is not None:
                return format_
        return "plain"


def _user(text: str, answer: str | None = None) -> list[Message]:
    messages: list[Message] = [{"role": "user", "content": text}]
    return messages if answer is None else [*messages, {"role": "assistant", "content": answer}]

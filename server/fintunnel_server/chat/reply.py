"""`/v1/chat/completions` in OpenAI's shape, for clients that speak only that: a reply as a whole, or in chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from fastapi import Request
from fastapi.responses import StreamingResponse
from fintunnel.errors import PromptTooLongError
from fintunnel.openai_wire import ChatCompletion, ChatRequest, ChatUsage
from fintunnel.wire import ErrorCode

from fintunnel_server.api_errors import ApiError
from fintunnel_server.chat.objects import ChatObjects, End
from fintunnel_server.chat.prompt import chat_messages, wanted_json
from fintunnel_server.chat.stop_strings import StopStrings
from fintunnel_server.engine import Conversation, Engine, Piece, Sampling
from fintunnel_server.errors import SchemaRejected
from fintunnel_server.running.progress import Progress
from fintunnel_server.running.streaming import stream_parts

__all__ = ["ChatReply"]

_DEFAULT_MAX_TOKENS = 500
_CHARACTERS_A_TOKEN = 16  # no text has as many in each


class ChatReply:
    """The reply to one request."""

    def __init__(
        self, request: ChatRequest, engine: Engine, *, adapter: str | None, max_prompt_tokens: int, progress: Progress
    ) -> None:
        self._request = request
        self._engine = engine
        self._adapter = adapter
        self._max_prompt_tokens = max_prompt_tokens
        self._progress = progress
        self._wanted = wanted_json(request)
        self._objects = ChatObjects(request, self._wanted)

    async def whole(self) -> ChatCompletion:
        """
        Raises:
            PromptTooLongError: the conversation is over the budget.
            ApiError: 422, the schema or the sampling cannot be served; 504, it took too long.
            EngineBusy, EngineFull, UpstreamError: as the engine does.
        """
        parts: list[Piece | End] = []
        await self._produce(parts.append)
        pieces = [part for part in parts if isinstance(part, Piece)]
        end = parts[-1]
        assert isinstance(end, End)
        return self._objects.completion(pieces, end)

    async def stream(self, request: Request) -> StreamingResponse:
        """
        Raises:
            as `whole`, where it happens before the first piece.
        """
        return await stream_parts(request, self._produce, partial(self._objects.events, request))

    async def _produce(self, give: Callable[[Piece | End], object]) -> None:
        request = self._request
        messages = chat_messages(request, self._wanted)
        max_tokens = request.max_completion_tokens or request.max_tokens or _DEFAULT_MAX_TOKENS
        if sum(len(message["content"]) for message in messages) > _CHARACTERS_A_TOKEN * self._max_prompt_tokens:
            raise PromptTooLongError("对话太长了，请缩短内容。")  # counting it would hold up everybody else
        prompt_tokens = self._engine.count_tokens(messages)
        limit = max(0, min(self._max_prompt_tokens, self._engine.info.context_tokens - max_tokens))
        if prompt_tokens > limit:
            raise PromptTooLongError(
                f"对话有 {prompt_tokens} 个 token，上限是 {limit}。请缩短内容，或调小 max_tokens。"
            )
        opened = self._engine.open(messages, adapter=self._adapter, answer_tokens=max_tokens)
        async with self._progress.in_time(), opened as conversation:
            stop = StopStrings(self._stops)
            async with aclosing(self._pieces(conversation, max_tokens, stop)) as pieces:
                async for piece in pieces:
                    self._progress.saw(piece.text)
                    give(piece)
            work = conversation.work
        usage = ChatUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=work.completion_tokens,
            total_tokens=prompt_tokens + work.completion_tokens,
        )
        self._progress.ended(prompt_tokens=prompt_tokens, completion_tokens=work.completion_tokens)
        give(End("stop" if stop.found else work.finish_reason, usage))

    @property
    def _stops(self) -> list[str]:
        stop = self._request.stop or []
        return [stop] if isinstance(stop, str) else stop

    async def _pieces(
        self, conversation: Conversation, max_tokens: int, stop: StopStrings
    ) -> AsyncGenerator[Piece, None]:
        """The pieces up to a stop string, without the white space that templates let a reply begin with."""
        begun = False
        try:
            async with aclosing(conversation.reply(max_tokens=max_tokens, sampling=self._sampling())) as pieces:
                async for piece in pieces:
                    if not begun:
                        piece = replace(piece, text=piece.text.lstrip())
                        begun = bool(piece.text)
                    for given in stop.feed(piece):
                        yield given
                    if stop.found:
                        return
                for given in stop.rest():
                    yield given
        except SchemaRejected as error:
            assert self._wanted is not None
            raise ApiError(422, ErrorCode.INVALID_REQUEST, str(error), self._wanted.param) from error

    def _sampling(self) -> Sampling:
        request = self._request
        told = request.logprobs and not (self._wanted and self._wanted.functions)
        return Sampling(
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed,
            top_logprobs=(request.top_logprobs or 0) if told else None,
            json_schema=None if self._wanted is None else self._wanted.schema,
        )

"""`/v1/chat/completions` in OpenAI's shape, for clients that speak only that: a reply as a whole, or in chunks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from fastapi import Request
from fastapi.responses import StreamingResponse
from fintunnel.errors import PromptTooLongError
from fintunnel.wire import (
    DEFAULT_MODEL_NAME,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatLogprobs,
    ChatMessage,
    ChatRequest,
    ChatTokenLogprob,
    ChatTopLogprob,
    ChatUsage,
    ErrorCode,
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    ToolCall,
    ToolCallDelta,
)

from fintunnel_server.api_errors import ApiError, error_body
from fintunnel_server.chat_prompt import chat_messages, wanted_json
from fintunnel_server.engine import Conversation, Engine, Piece, Sampling, TokenLogprob
from fintunnel_server.errors import SchemaRejected
from fintunnel_server.progress import Progress
from fintunnel_server.stop_strings import StopStrings
from fintunnel_server.streaming import ALIVE, Parts, stream_parts

__all__ = ["ChatReply"]

_DEFAULT_MAX_TOKENS = 500
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class _End:
    """The last part of a reply. `by_model`: why the model's text ended."""

    by_model: FinishReason
    usage: ChatUsage


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
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = request.model or DEFAULT_MODEL_NAME

    async def whole(self) -> ChatCompletion:
        """
        Raises:
            PromptTooLongError: the conversation is over the budget.
            ApiError: 422, the schema or the sampling cannot be served; 504, it took too long.
            EngineBusy, EngineFull, UpstreamError: as the engine does.
        """
        parts: list[Piece | _End] = []
        await self._produce(parts.append)
        pieces = [part for part in parts if isinstance(part, Piece)]
        end = parts[-1]
        assert isinstance(end, _End)
        text = "".join(piece.text for piece in pieces)
        called = self._called(text)
        message = (
            ChatMessage(role="assistant", content=text)
            if called is None
            else ChatMessage(role="assistant", content=None, tool_calls=[called])
        )
        choice = ChatChoice(
            index=0, message=message, logprobs=self._logprobs(pieces), finish_reason=self._reason(end, called)
        )
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            choices=[choice],
            usage=end.usage,
        )

    async def stream(self, request: Request) -> StreamingResponse:
        """
        Raises:
            as `whole`, where it happens before the first piece.
        """
        return await stream_parts(request, self._produce, partial(self._events, request))

    async def _produce(self, give: Callable[[Piece | _End], object]) -> None:
        request = self._request
        messages = chat_messages(request, self._wanted)
        max_tokens = request.max_completion_tokens or request.max_tokens or _DEFAULT_MAX_TOKENS
        prompt_tokens = self._engine.count_tokens(messages)
        limit = min(self._max_prompt_tokens, self._engine.info.context_tokens - max_tokens)
        if prompt_tokens > limit:
            raise PromptTooLongError(f"对话有 {prompt_tokens} 个 token，上限是 {limit}。请缩短内容。")
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
        give(_End("stop" if stop.found else work.finish_reason, usage))

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

    # --- as OpenAI's objects ----------------------------------------------------------------------------------------

    def _called(self, text: str) -> ToolCall | None:
        """The function call that the reply is; None where it is none, or was cut off before the function's name."""
        if self._wanted is None or not self._wanted.functions:
            return None
        if len(self._wanted.functions) == 1:
            name, arguments = self._wanted.functions[0], text
        else:
            try:
                call = json.loads(text)
                name, arguments = call["name"], json.dumps(call["arguments"], ensure_ascii=False)
            except (ValueError, LookupError, TypeError):
                return None
        return ToolCall(
            id=f"call_{uuid.uuid4().hex[:24]}",
            type="function",
            function=FunctionCall.model_construct(name=name, arguments=arguments),
        )

    def _reason(self, end: _End, called: ToolCall | None) -> FinishReason:
        return "tool_calls" if called is not None and end.by_model == "stop" else end.by_model

    def _logprobs(self, pieces: Sequence[Piece]) -> ChatLogprobs | None:
        if not self._request.logprobs or (self._wanted is not None and self._wanted.functions):
            return None
        tokens = [token for piece in pieces for token in piece.tokens]
        return ChatLogprobs(
            content=[
                ChatTokenLogprob(**_logprob(token), top_logprobs=[ChatTopLogprob(**_logprob(top)) for top in token.top])
                for token in tokens
            ]
        )

    async def _events(self, request: Request, parts: Parts[Piece | _End]) -> AsyncGenerator[bytes, None]:
        calls = bool(self._wanted and self._wanted.functions)
        streamed = calls and self._wanted is not None and len(self._wanted.functions) == 1
        held: list[str] = []  # of a call whose function is not known before its end
        called: ToolCall | None = None
        begun = False
        try:
            async for part in parts:
                if part is None:
                    yield ALIVE
                    continue
                if not begun:
                    begun = True
                    yield self._chunk(ChatDelta(role="assistant", content=None if calls else ""))
                    if streamed:
                        called = self._called("")
                        assert called is not None
                        yield self._chunk(_begun(called))
                if isinstance(part, Piece):
                    if calls and not streamed:
                        held.append(part.text)
                    elif calls and part.text:
                        yield self._chunk(_arguments(part.text))
                    elif part.text or part.tokens:
                        yield self._chunk(ChatDelta(content=part.text), self._logprobs([part]))
                    continue
                if calls and not streamed:
                    called = self._called("".join(held))
                    if called is not None:
                        yield self._chunk(_begun(called))
                        yield self._chunk(_arguments(called.function.arguments))
                yield self._chunk(ChatDelta(), reason=self._reason(part, called))
                if self._tells_usage:
                    yield _data(self._bare_chunk([], part.usage))
        except Exception as error:
            yield b"data: " + error_body(request, error).model_dump_json().encode() + b"\n\n"
            return
        yield _DONE

    @property
    def _tells_usage(self) -> bool:
        options = self._request.stream_options
        return bool(options and options.include_usage)

    def _chunk(
        self, delta: ChatDelta, logprobs: ChatLogprobs | None = None, reason: FinishReason | None = None
    ) -> bytes:
        choice = ChatChunkChoice(index=0, delta=delta, logprobs=logprobs, finish_reason=reason)
        return _data(self._bare_chunk([choice], None))

    def _bare_chunk(self, choices: list[ChatChunkChoice], usage: ChatUsage | None) -> ChatChunk:
        told = {"usage": usage} if self._tells_usage else {}
        return ChatChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._model,
            choices=choices,
            **told,
        )


def _begun(call: ToolCall) -> ChatDelta:
    function = FunctionCallDelta(name=call.function.name, arguments="")
    return ChatDelta(tool_calls=[ToolCallDelta(index=0, id=call.id, type="function", function=function)])


def _arguments(text: str) -> ChatDelta:
    return ChatDelta(tool_calls=[ToolCallDelta(index=0, function=FunctionCallDelta(arguments=text))])


def _logprob(token: TokenLogprob) -> dict[str, object]:
    # JSON has no infinity: the least that is told is a probability of zero in all but name.
    told = max(token.logprob, -9999.0)
    return {"token": token.text, "logprob": told, "bytes": None if token.raw is None else list(token.raw)}


def _data(chunk: ChatChunk) -> bytes:
    return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n".encode()

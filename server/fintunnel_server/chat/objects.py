"""A reply in OpenAI's objects: as a whole, or as the chunks of a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from fastapi import Request
from fintunnel.openai_wire import (
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
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    ToolCall,
    ToolCallDelta,
)
from fintunnel.wire import DEFAULT_MODEL_NAME

from fintunnel_server.api_errors import error_body
from fintunnel_server.chat.prompt import WantedJson
from fintunnel_server.engine import Piece, TokenLogprob
from fintunnel_server.running.streaming import ALIVE, PartQueue

__all__ = ["ChatObjects", "End"]

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class End:
    """The last part of a reply. `by_model`: why the model's text ended."""

    by_model: FinishReason
    usage: ChatUsage


class ChatObjects:
    """Of one request's reply, whose parts are pieces and an `End`."""

    def __init__(self, request: ChatRequest, wanted: WantedJson | None) -> None:
        self._functions = () if wanted is None else wanted.functions
        self._logprobs_wanted = bool(request.logprobs) and not self._functions
        self._usage_wanted = bool(request.stream_options and request.stream_options.include_usage)
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = request.model or DEFAULT_MODEL_NAME

    def completion(self, pieces: Sequence[Piece], end: End) -> ChatCompletion:
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

    def _called(self, text: str) -> ToolCall | None:
        """The function call that the reply is; None where it is none, or was cut off before the function's name."""
        if not self._functions:
            return None
        if len(self._functions) == 1:
            name, arguments = self._functions[0], text
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

    def _reason(self, end: End, called: ToolCall | None) -> FinishReason:
        return "tool_calls" if called is not None and end.by_model == "stop" else end.by_model

    def _logprobs(self, pieces: Sequence[Piece]) -> ChatLogprobs | None:
        if not self._logprobs_wanted:
            return None
        tokens = [token for piece in pieces for token in piece.tokens]
        return ChatLogprobs(
            content=[
                ChatTokenLogprob(**_logprob(token), top_logprobs=[ChatTopLogprob(**_logprob(top)) for top in token.top])
                for token in tokens
            ]
        )

    async def events(self, request: Request, parts: PartQueue[Piece | End]) -> AsyncGenerator[bytes, None]:
        """A stream's bytes; an error after its beginning is an event, with which it ends."""
        calls = bool(self._functions)
        streamed = len(self._functions) == 1
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
                if self._usage_wanted:
                    yield _data(self._bare_chunk([], part.usage))
        except Exception as error:
            yield b"data: " + error_body(request, error).model_dump_json().encode() + b"\n\n"
            return
        yield _DONE

    def _chunk(
        self, delta: ChatDelta, logprobs: ChatLogprobs | None = None, reason: FinishReason | None = None
    ) -> bytes:
        choice = ChatChunkChoice(index=0, delta=delta, logprobs=logprobs, finish_reason=reason)
        return _data(self._bare_chunk([choice], None))

    def _bare_chunk(self, choices: list[ChatChunkChoice], usage: ChatUsage | None) -> ChatChunk:
        told = {"usage": usage} if self._usage_wanted else {}
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

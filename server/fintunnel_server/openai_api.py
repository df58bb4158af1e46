"""`/v1/chat/completions` in OpenAI's shape, for clients that speak only that."""

from __future__ import annotations

import time
import uuid

from fintunnel.errors import PromptTooLongError
from fintunnel.prompt import Message
from fintunnel.wire import ChatChoice, ChatCompletion, ChatMessage, ChatRequest, ChatUsage

from fintunnel_server.engine import Engine
from fintunnel_server.progress import Progress

__all__ = ["complete_chat"]

_DEFAULT_MAX_TOKENS = 500


async def complete_chat(
    request: ChatRequest, engine: Engine, *, adapter: str | None, max_prompt_tokens: int, progress: Progress
) -> ChatCompletion:
    """
    Raises:
        PromptTooLongError: the conversation is over the budget.
        ApiError: 504, it took too long.
    """
    messages: list[Message] = [{"role": m.role, "content": m.content} for m in request.messages]
    max_tokens = request.max_completion_tokens or request.max_tokens or _DEFAULT_MAX_TOKENS
    prompt_tokens = engine.count_tokens(messages)
    limit = min(max_prompt_tokens, engine.info.context_tokens - max_tokens)
    if prompt_tokens > limit:
        raise PromptTooLongError(f"对话有 {prompt_tokens} 个 token，上限是 {limit}。请缩短内容。")
    pieces = []
    async with progress.in_time(), engine.open(messages, adapter=adapter, answer_tokens=max_tokens) as conversation:
        async for piece in conversation.write(
            "", max_tokens=max_tokens, temperature=request.temperature, seed=request.seed
        ):
            progress.saw(piece)
            pieces.append(piece)
        work = conversation.work
    return ChatCompletion(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=request.model,
        choices=[
            ChatChoice(
                index=0,
                message=ChatMessage(role="assistant", content="".join(pieces).strip()),
                finish_reason=work.finish_reason,
            )
        ],
        usage=ChatUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=work.completion_tokens,
            total_tokens=prompt_tokens + work.completion_tokens,
        ),
    )

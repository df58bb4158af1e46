"""`/v1/chat/completions` in OpenAI's shape, for clients that speak only that."""

from __future__ import annotations

import time
import uuid

from fintunnel.errors import PromptTooLongError
from fintunnel.prompt import Message
from fintunnel.wire import ChatChoice, ChatCompletion, ChatMessage, ChatRequest, ChatUsage

from fintunnel_server.engine import Engine

__all__ = ["complete_chat"]

_DEFAULT_MAX_TOKENS = 500


async def complete_chat(
    request: ChatRequest, engine: Engine, *, adapter: str | None, max_prompt_tokens: int
) -> ChatCompletion:
    messages: list[Message] = [{"role": m.role, "content": m.content} for m in request.messages]
    max_tokens = request.max_completion_tokens or request.max_tokens or _DEFAULT_MAX_TOKENS
    prompt_tokens = engine.count_tokens(messages)
    limit = min(max_prompt_tokens, engine.info.context_tokens - max_tokens)
    if prompt_tokens > limit:
        raise PromptTooLongError(f"对话有 {prompt_tokens} 个 token，上限是 {limit}。请缩短内容。")
    generation = await engine.generate(
        messages,
        adapter=adapter,
        max_tokens=max_tokens,
        temperature=request.temperature,
        seed=request.seed,
    )
    return ChatCompletion(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=request.model,
        choices=[
            ChatChoice(
                index=0,
                message=ChatMessage(role="assistant", content=generation.text.strip()),
                finish_reason=generation.finish_reason,
            )
        ],
        usage=ChatUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=generation.work.completion_tokens,
            total_tokens=prompt_tokens + generation.work.completion_tokens,
        ),
    )

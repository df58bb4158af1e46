"""A request becomes a prompt, the prompt a conversation with the engine, its results an analysis."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from fintunnel.prompt import fit, render_prompt
from fintunnel.wire import ModelInfo, NewsAnalysis, NewsRequest, ReportAnswer, ReportRequest, Timing, Usage
from fintunnel.written_answer import STRUCTURE_TOKENS

from fintunnel_server.analysis.generated_answer import generated_answer
from fintunnel_server.analysis.scored_answer import Common, ScoredAnswer
from fintunnel_server.engine import Conversation, Engine

__all__ = ["Analysis", "Parts", "analyze"]

Analysis = NewsAnalysis | ReportAnswer
Parts = AsyncGenerator[Analysis | str, None]


async def analyze(
    request: NewsRequest | ReportRequest, engine: Engine, *, adapter: str | None, max_prompt_tokens: int
) -> Parts:
    """Analyse one request with `adapter` (None: the bare base), shortening its texts where they are too long.

    Gives, in this order: the analysis with what is scored (labels, citations) and no text; the text in pieces, where
    one is asked for; the whole analysis.

    Raises:
        PromptTooLongError: what cannot be shortened is over the budget.
    """
    started = time.monotonic()
    horizon_min = engine.info.adapter(adapter).horizon_min
    answer_tokens = request.max_tokens + STRUCTURE_TOKENS
    budget = min(max_prompt_tokens, engine.info.context_tokens - answer_tokens)
    request, truncated = fit(request, budget, engine.count_tokens, horizon_min=horizon_min)
    prompt = render_prompt(request, horizon_min=horizon_min)
    async with engine.open(
        prompt.messages(), adapter=adapter, answer_tokens=answer_tokens, shared=prompt.instruction
    ) as conversation:
        about = engine.info.adapter(adapter)
        common = _common(engine, conversation, adapter, started, truncated)
        if engine.info.continues_answers:
            answer = ScoredAnswer(conversation, about=about, common=common).parts(request)
        else:
            answer = generated_answer(request, conversation, about=about, common=common)
        async with aclosing(answer) as parts:
            async for part in parts:
                yield part


def _common(
    engine: Engine, conversation: Conversation, adapter: str | None, started: float, truncated: bool
) -> Callable[[], Common]:
    """What makes the fields that both kinds of answer carry, as they are when it is called."""
    number = f"ana-{uuid.uuid4().hex}"
    prompt_version = engine.info.adapter(adapter).prompt_version

    def fields() -> Common:
        work = conversation.work
        return {
            "id": number,
            "model": ModelInfo(
                backend="finetuned", base=engine.info.base, adapter=adapter, prompt_version=prompt_version
            ),
            "usage": Usage(prompt_tokens=work.prompt_tokens, completion_tokens=work.completion_tokens),
            "timing_ms": Timing(
                queue=_ms(work.queue_seconds),
                model=_ms(work.model_seconds),
                total=_ms(time.monotonic() - started),
            ),
            "truncated": truncated,
        }

    return fields


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)

"""Code as a user of the package writes it, for type checkers to read; never run."""

from __future__ import annotations

from typing import assert_type

import httpx
from fintunnel import (
    APIError,
    AsyncDeepSeekClient,
    Check,
    Comparison,
    Completion,
    Context,
    DeepSeekClient,
    Done,
    Figures,
    FinTunnelError,
    Labels,
    NewsAnalysis,
    NewsRequest,
    Passage,
    Progress,
    ReportAnswer,
    ReportRequest,
    TextPiece,
)
from fintunnel.compat import DeepseekClient


def show(progress: Progress) -> None:
    done: int = progress.done
    del done


def synchronous() -> None:
    with DeepSeekClient(backend="finetuned", timeout=30, http_client=httpx.Client()) as client:
        analysis = client.analyze("加息", importance=4, context=Context(pre_return=0, volatility=0, typical_move=1))
        assert_type(analysis, NewsAnalysis)
        report = ReportRequest(question="营收？", passages=[Passage(text="1", source="年报")])
        assert_type(client.analyze(report), ReportAnswer)
        request = NewsRequest(text="加息", figures=Figures(actual=1.0))
        assert_type(client.analyze_many(["加息", request], on_progress=show), list[NewsAnalysis | FinTunnelError])
        assert_type(client.analyze_many([report]), list[ReportAnswer | FinTunnelError])
        assert_type(client.compare("加息"), Comparison[NewsAnalysis])
        assert_type(client.complete("你好"), Completion)
        text: str = client.complete_with_system("你是分析师", "你好")
        assert_type(client.check(), Check)
        for part in client.stream("加息"):
            if isinstance(part, TextPiece):
                text += part.text
            elif isinstance(part, Labels):
                assert_type(part.analysis, NewsAnalysis)
            else:
                assert_type(part, Done[NewsAnalysis])
        for piece in client.stream_chat([{"role": "user", "content": "你好"}]):
            text += piece


async def asynchronous() -> None:
    async with AsyncDeepSeekClient(backend="deepseek", api_key="k", fallback=None) as client:
        assert_type(await client.analyze("加息"), NewsAnalysis)
        results = await client.analyze_many(["加息"])
        assert_type(results, list[NewsAnalysis | FinTunnelError])
        async for part in client.stream("加息"):
            if isinstance(part, Done):
                assert_type(part.analysis, NewsAnalysis)


def failing(client: DeepSeekClient) -> str:
    try:
        return client.analyze("加息").impact
    except APIError as error:
        return f"{error.status} {error.request_id} {error.advice}"


def old_agent() -> str:
    return DeepseekClient(model="deepseek-flash").complete("你好", timeout_seconds=10.0)

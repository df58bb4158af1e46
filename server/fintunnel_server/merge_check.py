"""How many labels merging an adapter changes, on a few headlines of our own."""

from __future__ import annotations

import asyncio

from fintunnel.wire import Context, NewsAnalysis, NewsRequest

from fintunnel_server.analysis.analyze import analyze
from fintunnel_server.engine import Engine

__all__ = ["CHECKED", "changed_labels", "check_labels"]

_HEADLINES = (
    "美联储宣布加息25个基点",
    "美联储维持利率不变，点阵图显示今年降息两次",
    "美国9月非农就业人口增加30.3万人，预期20万人",
    "美国8月核心CPI同比上涨3.1%，符合预期",
    "美国上周初请失业金人数21.9万人",
    "欧洲央行行长：通胀回落路径仍不确定",
    "中国央行连续第十个月增持黄金",
    "现货黄金短线走低8美元",
    "现货黄金突破历史高位",
    "中东局势升级，避险情绪升温",
    "停火协议达成，市场风险偏好回升",
    "美元指数短线上扬20点",
    "美国10年期国债收益率跌至4.02%",
    "日本央行行长暗示年内可能加息",
    "英国7月GDP环比持平",
    "美国财政部拍卖390亿美元10年期国债",
    "某汽车厂商发布新款电动车",
    "国内油价今晚上调",
    "COMEX黄金期货收涨1.2%",
    "美联储理事：不急于调整利率",
)
_CONTEXT = Context(pre_return=-0.0018, volatility=0.0031, typical_move=0.0008)
CHECKED = 2 * len(_HEADLINES)
"""labels that are compared: impact and direction of each headline, every other one with context"""


def check_labels(engine: Engine, *, at_once: int) -> list[str]:
    """The labels that the engine's default adapter gives, so many headlines at a time.

    Raises:
        FinTunnelError: it does not answer.
    """
    requests = [
        NewsRequest(text=text, explain=False, context=_CONTEXT if number % 2 else None)
        for number, text in enumerate(_HEADLINES)
    ]

    places = asyncio.Semaphore(at_once)

    async def ask(request: NewsRequest) -> NewsAnalysis:
        adapter = engine.info.default_adapter
        async with places:
            parts = [part async for part in analyze(request, engine, adapter=adapter, max_prompt_tokens=1024)]
        assert isinstance(parts[-1], NewsAnalysis)
        return parts[-1]

    async def ask_all() -> list[NewsAnalysis]:
        return await asyncio.gather(*map(ask, requests))

    return [label for given in asyncio.run(ask_all()) for label in (given.impact, given.direction)]


def changed_labels(before: list[str], after: list[str]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))

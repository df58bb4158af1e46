"""A conversation with the upstream engine, started on a stand-in for the time of one test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fintunnel.prompt import Message
from fintunnel_server.engine import Conversation, Field
from fintunnel_server.upstream import UpstreamEngine, start_upstream_engine

from tests.server.upstream_stand_in import Upstream, upstream_server

QUESTION: list[Message] = [{"role": "user", "content": "美联储宣布加息25个基点"}]
IMPACTS = Field('{"impact":"', {label: label + '","direction":"' for label in ("low", "medium", "high")})
RATIONALE = '{"impact":"high","direction":"bullish","signals":null,"rationale":"'


def run(upstream: Upstream, ask: Callable[[UpstreamEngine], Awaitable[Any]], **options: Any) -> Any:
    async def asked() -> Any:
        engine = await start_upstream_engine(upstream.url, "tuned", base_model="plain", **options)
        upstream.forget()
        try:
            return await ask(engine)
        finally:
            await engine.close()

    with upstream_server(upstream):
        return asyncio.run(asked())


@asynccontextmanager
async def conversation(engine: UpstreamEngine, adapter: str | None = "tuned") -> AsyncIterator[Conversation]:
    async with engine.open(QUESTION, adapter=adapter, answer_tokens=100) as opened:
        yield opened

"""An analysis as server-sent events: `analysis`, `token` …, then `done` or `error`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from fastapi import Request

from fintunnel_server.analyze import Analysis
from fintunnel_server.api_errors import error_body
from fintunnel_server.progress import Progress

__all__ = ["EVENTS_SCHEMA", "analysis_events"]

EVENTS_SCHEMA = {  # of each event, as OpenAPI 3.1 has it
    "type": "object",
    "properties": {
        "event": {
            "enum": ["analysis", "token", "done", "error"],
            "description": "`analysis`: the analysis without its text; `token`: an object with `text`, a piece of it; "
            "`done`: the whole analysis; `error`: an ErrorBody. Comment lines keep the line open.",
        },
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_ALIVE_SECONDS = 10.0  # proxies close lines on which nothing has passed for some time


async def analysis_events(
    request: Request, progress: Progress, parts: AsyncGenerator[Analysis | str, None]
) -> AsyncGenerator[bytes, None]:
    """The events' bytes. `analysis` is the analysis without text, `token` a piece of text, `done` the whole."""
    given: asyncio.Queue[Analysis | str | Exception | None] = asyncio.Queue()  # None: that was all

    async def produce() -> None:
        # In one task from the beginning to the end: what it opens belongs to it.
        try:
            await progress.last(parts, given.put_nowait)
            given.put_nowait(None)
        except Exception as error:
            given.put_nowait(error)

    producer = asyncio.ensure_future(produce())
    latest: Analysis | None = None
    try:
        while True:
            try:
                async with asyncio.timeout(_ALIVE_SECONDS):
                    part = await given.get()
            except TimeoutError:
                yield b": alive\n\n"
                continue
            if isinstance(part, Exception):
                yield _event("error", error_body(request, part).model_dump_json())
                return
            if part is None:
                assert latest is not None
                yield _event("done", latest.model_dump_json())
                return
            if isinstance(part, str):
                yield _event("token", json.dumps({"text": part}, ensure_ascii=False))
                continue
            if latest is None:
                yield _event("analysis", part.model_dump_json())
            latest = part
    finally:
        if not producer.done():
            producer.cancel()
            await asyncio.wait((producer,))


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()

"""An analysis as server-sent events: `analysis`, `token` …, then `done` or `error`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from fintunnel_server.analysis.analyze import Analysis
from fintunnel_server.api_errors import error_body
from fintunnel_server.running.progress import Progress
from fintunnel_server.running.streaming import ALIVE, PartQueue, stream_parts

__all__ = ["EVENTS_SCHEMA", "stream_analysis"]

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


async def stream_analysis(
    request: Request, progress: Progress, parts: AsyncGenerator[Analysis | str, None]
) -> StreamingResponse:
    """`analysis` is the analysis without text, `token` a piece of text, `done` the whole.

    Raises:
        whatever went wrong before the first of them.
    """

    def produce(give: Callable[[Analysis | str], object]) -> Coroutine[Any, Any, object]:
        return progress.last(parts, give)

    return await stream_parts(request, produce, partial(_events, request))


async def _events(request: Request, parts: PartQueue[Analysis | str]) -> AsyncGenerator[bytes, None]:
    latest: Analysis | None = None
    try:
        async for part in parts:
            if part is None:
                yield ALIVE
            elif isinstance(part, str):
                yield _event("token", json.dumps({"text": part}, ensure_ascii=False))
            else:
                if latest is None:
                    yield _event("analysis", part.model_dump_json())
                latest = part
    except Exception as error:
        yield _event("error", error_body(request, error).model_dump_json())
        return
    assert latest is not None
    yield _event("done", latest.model_dump_json())


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()

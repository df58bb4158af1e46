"""Many requests in one: each is checked and answered by itself, and none is lost over another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fintunnel.wire import AnalyzeRequest, BatchItem, NewsRequest, ReportRequest
from pydantic import TypeAdapter, ValidationError

from fintunnel_server.analyze import Analysis
from fintunnel_server.api_errors import error_body

__all__ = ["analyze_batch"]

_REQUEST: TypeAdapter[NewsRequest | ReportRequest] = TypeAdapter(AnalyzeRequest)


async def analyze_batch(
    request: Request,
    items: Sequence[Any],
    analyze_one: Callable[[NewsRequest | ReportRequest], Awaitable[Analysis]],
    *,
    at_once: int,
) -> list[BatchItem]:
    """The items' analyses or errors, in their order.

    Args:
        at_once: how many of them ask the model at once. A batch fills the model's places and not its queue, so that
            others come between.
    """
    places = asyncio.Semaphore(at_once)

    async def answer(item: Any) -> BatchItem:
        try:
            checked = _REQUEST.validate_python(item)
        except ValidationError as error:
            return BatchItem(error=error_body(request, RequestValidationError(error.errors())).error)
        async with places:
            try:
                return BatchItem(analysis=await analyze_one(checked))
            except Exception as error:
                return BatchItem(error=error_body(request, error).error)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(item)) for item in items]
    return [task.result() for task in tasks]

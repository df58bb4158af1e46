"""Many requests in one: each is checked and answered by itself, and none is lost over another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fintunnel.wire import AnalyzeRequest, BatchItem, ErrorCode, NewsRequest, ReportRequest
from fintunnel.wire.nesting import levels
from pydantic import TypeAdapter, ValidationError

from fintunnel_server.analysis.analyze import Analysis
from fintunnel_server.api_errors import ApiError, error_body

__all__ = ["analyze_batch"]

_MOST_VALUES = 256  # of one item; the largest valid one has a tenth of them, and each wrong one costs an error
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
            if not _is_small(item):
                raise ApiError(422, ErrorCode.INVALID_REQUEST, "这一项的字段或元素太多。")
            checked = _REQUEST.validate_python(item)
        except ValidationError as error:
            return BatchItem(error=error_body(request, RequestValidationError(error.errors())).error)
        except ApiError as error:
            return BatchItem(error=error_body(request, error).error)
        async with places:
            try:
                return BatchItem(analysis=await analyze_one(checked))
            except Exception as error:
                return BatchItem(error=error_body(request, error).error)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(item)) for item in items]
    return [task.result() for task in tasks]


def _is_small(item: Any) -> bool:
    return all(count <= _MOST_VALUES for count in accumulate(map(len, levels(item))))

"""`/admin/adapters`: adapters added while the server runs, from one folder that its settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from fintunnel.wire import AdapterLoad, AdapterLoaded, ErrorCode
from fintunnel_training.errors import AdapterError

from fintunnel_server.adapter_root import folder_under
from fintunnel_server.api_errors import ApiError, error_responses

__all__ = ["admin_router"]


def admin_router(root: Path, load_adapter: Callable[[str, Path], None]) -> APIRouter:
    router = APIRouter(tags=["admin"])

    @router.post("/admin/adapters", summary="Add an adapter folder", responses=error_responses(400, 404, 413, 415, 422))
    async def add_adapter(body: AdapterLoad) -> AdapterLoaded:
        given = body.folder or body.name
        folder = folder_under(root, given)
        try:
            await asyncio.to_thread(load_adapter, body.name, folder)  # the files are read while others are answered
        except AdapterError as error:  # callers need not know where the root is
            message = str(error).replace(str(folder), given)
            raise ApiError(422, ErrorCode.INVALID_REQUEST, message) from error
        return AdapterLoaded(name=body.name)

    return router

"""`fintunnel mcp` in a process of its own, as an agent host keeps it, with the official client."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult

from tests.live_app import LiveApp

COMMAND = [sys.executable, "-m", "fintunnel", "mcp"]


def variables_for(app: LiveApp) -> dict[str, str]:
    return {"FINTUNNEL_BACKEND": "finetuned", "FINTUNNEL_URL": app.url, "FINTUNNEL_API_KEY": app.api_key or ""}


@asynccontextmanager
async def host(variables: dict[str, str], log: Path, mode: Literal["auto", "legacy"] = "auto") -> AsyncIterator[Client]:
    """`log`: where the server's stderr goes. The SDK hands on no environment but what it is given."""
    command = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env={**os.environ, **variables})
    with log.open("w", encoding="utf-8") as stderr:
        async with Client(stdio_client(command, errlog=stderr), mode=mode, read_timeout_seconds=30) as client:
            yield client


def ask(variables: dict[str, str], log: Path, *questions: Mapping[str, Any]) -> list[CallToolResult]:
    """The answers to the questions, one after the other, from one process."""

    async def run() -> list[CallToolResult]:
        async with host(variables, log) as client:
            return [await client.call_tool("analyze_news", dict(question)) for question in questions]

    return asyncio.run(run())

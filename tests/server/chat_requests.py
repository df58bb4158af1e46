"""Requests to `/v1/chat/completions`, as a test writes them."""

from __future__ import annotations

from typing import Any

import httpx

from tests.live_app import LiveApp

USER: Any = [{"role": "user", "content": "你好"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


def chat(app: LiveApp, **fields: Any) -> httpx.Response:
    return app.post("/v1/chat/completions", json={"messages": USER, **fields})

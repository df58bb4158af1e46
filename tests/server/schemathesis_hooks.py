"""What the OpenAPI document cannot say and schemathesis therefore has to be told: loaded by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """A function that is asked for by its name is one of the request's own: JSON Schema compares no two values."""
    del context
    choice = body.get("tool_choice") if isinstance(body, dict) else None
    if not (isinstance(choice, dict) and isinstance(body.get("tools"), list)):
        return True
    names = [tool.get("function", {}).get("name") for tool in body["tools"] if isinstance(tool, dict)]
    asked = choice.get("function")
    return not isinstance(asked, dict) or asked.get("name") in names

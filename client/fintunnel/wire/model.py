"""What all messages have in common: a field that is not known is refused, never ignored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["WireModel"]


class WireModel(BaseModel):
    model_config = ConfigDict(extra="forbid")

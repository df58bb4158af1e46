"""What all messages have in common: a field that is not known is refused, never ignored, and no type is guessed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict
from pydantic_core import PydanticCustomError

__all__ = ["NOT_GUESSED", "Boolean", "Integer", "Number", "StrictWireModel", "WireModel"]


class WireModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StrictWireModel(WireModel):
    """No conversions: `"5"` is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _no_text_or_truth(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("int_type", "应是整数")
    return value


# In JSON 3 and 3.0 are the same integer; "3" and true are none. It stands after bounds, which are then in the schema.
NOT_GUESSED = BeforeValidator(_no_text_or_truth)
Integer = Annotated[int, NOT_GUESSED]
Number = Annotated[float, Strict()]
Boolean = Annotated[bool, Strict()]

"""What a call asks for, and how long it may take."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fintunnel.errors import InvalidRequestError

__all__ = ["Answer", "Budget", "Call", "Patience", "body_bytes"]


@dataclass(frozen=True)
class Call:
    """`path`: after the backend's address. `body`: JSON; None: a GET. `with_json`: the answer has a body.
    `fallback`: for the backend that is asked in the other's place."""

    path: str
    body: Mapping[str, Any] | None = None
    with_json: bool = True
    fallback: bool = False


class Patience(NamedTuple):
    """`seconds`: for a whole operation. `max_retries`, `read` (s): in place of the backend's own."""

    seconds: float
    max_retries: int | None = None
    read: float | None = None


class Budget(NamedTuple):
    """`deadline`: where the patience ends, in `time.monotonic()`."""

    patience: Patience
    deadline: float

    @classmethod
    def of(cls, seconds: float) -> Budget:
        return cls(Patience(seconds), time.monotonic() + seconds)

    @property
    def seconds(self) -> float:
        return self.patience.seconds

    @property
    def left(self) -> float:
        """Seconds, not below 0."""
        return max(self.deadline - time.monotonic(), 0.0)


class Answer(NamedTuple):
    """`json`: empty where the call wanted none. `seconds`: from the last attempt's beginning to its end."""

    json: dict[str, Any]
    request_id: str | None
    seconds: float


def body_bytes(body: Mapping[str, Any]) -> bytes:
    """
    Raises:
        InvalidRequestError: something in it cannot be sent as JSON.
    """
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("文字里有不成对的代理字符，发不出去", advice="请检查文字的来源和编码。") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"请求里有 JSON 里不能有的值：{error}") from None

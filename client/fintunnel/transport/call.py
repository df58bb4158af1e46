"""What a call is: whom it asks, for what, and how long it may take."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr

from fintunnel.errors import InvalidRequestError

__all__ = [
    "Address",
    "Advice",
    "Answer",
    "Budget",
    "Call",
    "FixedAddress",
    "Patience",
    "Target",
    "Timeouts",
    "body_bytes",
]


@dataclass(frozen=True)
class Timeouts:
    """Seconds.

    `connect`: to open a connection. `read`: without a byte from the server; None: as long as the call has left.
    `total`: for the whole call with all its attempts and the waits between them; bytes that only keep the line alive do
    not stretch it.
    """

    connect: float = 10.0
    read: float | None = None
    total: float = 60.0


class Address(Protocol):
    """Where a backend is. `known`: its address, where that is already known."""

    @property
    def known(self) -> str | None: ...

    def url(self) -> str:
        """Its address. May read a file or ask an API.

        Raises:
            FinTunnelError: there is none.
        """

    def look_again(self) -> None:
        """Nobody answered there: whoever keeps the address may know another by now. Never raises."""


@dataclass(frozen=True)
class FixedAddress:
    address: str

    @property
    def known(self) -> str:
        return self.address

    def url(self) -> str:
        return self.address

    def look_again(self) -> None:
        pass


@dataclass(frozen=True)
class Advice:
    """What to do when nobody answers, and when the key is refused."""

    unreachable: str
    key: str


@dataclass(frozen=True)
class Target:
    """A backend: its address, the key that goes there and nowhere else, and how long it gets. `tunnelled`: a tunnel or
    a proxy of the user's may stand before it and answer in its place."""

    name: str
    address: Address
    api_key: SecretStr | None
    timeouts: Timeouts
    max_retries: int
    advice: Advice
    tunnelled: bool
    http2: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def secret(self) -> str:
        return self.api_key.get_secret_value() if self.api_key is not None else ""


@dataclass(frozen=True)
class Call:
    """`path`: after the backend's address. `body`: JSON; None: a GET. `with_json`: the answer has a body.
    `fallback`: for the backend that is asked in the other's place."""

    path: str
    body: Mapping[str, Any] | None = None
    with_json: bool = True
    fallback: bool = False


class Patience(NamedTuple):
    """`seconds`: for a whole operation. `max_retries`, `read`: if not the backend's own, as `Timeouts` has it."""

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
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"请求里有 JSON 里不能有的值：{error}") from None

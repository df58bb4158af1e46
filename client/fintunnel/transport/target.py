"""Whom a call asks: the address, the key that goes there, the time that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from fintunnel.transport.call import Budget

__all__ = ["Address", "Advice", "FixedAddress", "Target", "Timeouts"]


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

    def url(self, budget: Budget | None = None) -> str:
        """Its address. May read a file or ask an API, for which it has what is left of `budget`.

        Raises:
            FinTunnelError: there is none.
        """

    def look_again(self, budget: Budget) -> None:
        """Nobody answered there: whoever keeps the address may know another by now. Never raises."""


@dataclass(frozen=True)
class FixedAddress:
    address: str

    @property
    def known(self) -> str:
        return self.address

    def url(self, budget: Budget | None = None) -> str:
        del budget
        return self.address

    def look_again(self, budget: Budget) -> None:
        pass


@dataclass(frozen=True)
class Advice:
    """What to do when nobody answers, when the answer takes too long, when the key is refused, when there is none."""

    unreachable: str
    slow: str
    key: str
    no_key: str


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

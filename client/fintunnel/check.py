"""Who will answer: what `client.check()` finds out before the first real question."""

from __future__ import annotations

from dataclasses import dataclass

from fintunnel.settings import Backend

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """Who will answer.

    Attributes:
        backend, url: the backend and its address.
        model: the name that requests ask for.
        base, adapter: what stands behind that name; adapter None: the bare base, or the hosted API's model.
        models: all names that may be asked for.
        round_trip_ms: of one small request on an open connection.
        fallback: who answers where that backend cannot be had.
    """

    backend: Backend
    url: str
    model: str
    base: str
    adapter: str | None
    models: list[str]
    round_trip_ms: float
    fallback: Backend | None = None

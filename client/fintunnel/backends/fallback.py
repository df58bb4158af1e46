"""Asking the other backend when the client's own cannot be had. Only where the user wants it: an answer that silently
comes from another model would falsify every comparison. No network here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from fintunnel.backends.steps import Steps
from fintunnel.errors import ConnectionFailed, FinTunnelError, RequestTimeout, ServerFailure

__all__ = ["FAILURES", "Cooldown", "with_fallback"]

logger = logging.getLogger("fintunnel.client")

_T = TypeVar("_T")
# The backend cannot be had. A wrong key, a wrong request or a rate limit is something that the user should learn of.
FAILURES = (ConnectionFailed, RequestTimeout, ServerFailure)


class Cooldown:
    """After a failure the own backend is left alone for a while, so that not every call waits for it in vain."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")

    @property
    def is_on(self) -> bool:
        return self._clock() < self._until

    def begin(self, failure: FinTunnelError) -> None:
        self._until = self._clock() + self._seconds
        # In Chinese: where an agent sets no logging up, its user reads this.
        logger.warning("自己的服务没有应答（%s），%g 秒内由官方 API 代答", failure.message, self._seconds)


def with_fallback(cooldown: Cooldown, own: Steps[_T], other: Callable[[], Steps[_T]]) -> Steps[_T]:
    """
    Raises:
        FinTunnelError: of the other backend, caused by the own one's.
    """
    failure: FinTunnelError | None = None
    if not cooldown.is_on:
        try:
            return (yield from own)
        except FAILURES as error:
            failure = error
            cooldown.begin(error)
    try:
        return (yield from other())
    except FinTunnelError as error:
        if failure is not None:
            error.message += f"（在它之前，自己的服务：{failure.message}）"
        raise error from failure

"""Which failures are asked again, and when: openai-python's rules.

Connection errors, timeouts, 408, 409, 429 and 5xx; after 0.5, 1, 2 … at most 8 seconds, a quarter of it at random;
`Retry-After` in any form is kept to. Two differences: the deadline holds for all attempts together, so a wait that
would end after it is not begun and the failure is raised at once; and a `Retry-After` of more than a minute is
kept to, not replaced by a short wait.
"""

from __future__ import annotations

import logging
import random
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, stop_any, stop_before_delay

from fintunnel.errors import FinTunnelError

__all__ = ["log_retry", "retry_options"]

logger = logging.getLogger("fintunnel.client")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0  # s


def retry_options(max_retries: int, seconds: float) -> dict[str, Any]:
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`.

    Args:
        seconds: what all attempts and the waits between them may take.
    """
    return {
        "retry": retry_if_exception(_may_help),
        "stop": stop_any(stop_after_attempt(max_retries + 1), stop_before_delay(seconds)),
        "wait": _wait,
        "reraise": True,
    }


def log_retry(state: RetryCallState) -> None:
    """The failure's kind and status, not its text: a server wrote that."""
    failure = _failure(state)
    logger.info(
        "attempt %d: %s, status %s; again in %.1f s",
        state.attempt_number,
        type(failure).__name__,
        getattr(failure, "status", None),
        state.upcoming_sleep,
    )


def _may_help(error: BaseException) -> bool:
    return isinstance(error, FinTunnelError) and error.transient


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _wait(state: RetryCallState) -> float:
    failure = _failure(state)
    if isinstance(failure, FinTunnelError) and failure.retry_after is not None:
        return failure.retry_after
    return min(_FIRST_WAIT * 2.0 ** (state.attempt_number - 1), _LONGEST_WAIT) * random.uniform(0.75, 1.0)

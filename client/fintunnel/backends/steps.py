"""What the client does, apart from how it waits.

An operation is a generator: it yields a call, is given the answer (or the failure is thrown into it), and returns the
result. So asking once more, falling back and validating are written once for the synchronous and the asynchronous
client, and tested without a network.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import NamedTuple, TypeVar

from fintunnel.errors import FinTunnelError
from fintunnel.transport.call import Answer, Budget, Call, Patience

__all__ = ["Pause", "Steps", "run", "run_async"]

_T = TypeVar("_T")


class Pause(NamedTuple):
    """Yielded in a call's place: nothing is asked for so many seconds, or until the deadline."""

    seconds: float


NO_ANSWER = Answer({}, None, 0.0)  # to a pause
Steps = Generator[Call | Pause, Answer, _T]


class _Budgets:
    """One deadline for the operation's calls; a second, as long, for those to the fallback."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._deadlines: dict[bool, float] = {}

    def of(self, call: Call) -> Budget:
        deadline = self._deadlines.setdefault(call.fallback, time.monotonic() + self._patience.seconds)
        return Budget(self._patience, deadline)

    def pause(self, pause: Pause) -> float:
        left = [deadline - time.monotonic() for deadline in self._deadlines.values()]
        return max(min([pause.seconds, *left]), 0.0)


def run(steps: Steps[_T], send: Callable[[Call, Budget], Answer], patience: Patience) -> _T:
    """The operation's result.

    Args:
        patience: for all of its calls together.
    """
    budgets = _Budgets(patience)
    try:
        call = next(steps)
        while True:
            try:
                if isinstance(call, Pause):
                    time.sleep(budgets.pause(call))
                    answer = NO_ANSWER
                else:
                    answer = send(call, budgets.of(call))
            except FinTunnelError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as done:
        result: _T = done.value
        return result


async def run_async(steps: Steps[_T], send: Callable[[Call, Budget], Awaitable[Answer]], patience: Patience) -> _T:
    """As `run`."""
    budgets = _Budgets(patience)
    try:
        call = next(steps)
        while True:
            try:
                if isinstance(call, Pause):
                    await asyncio.sleep(budgets.pause(call))
                    answer = NO_ANSWER
                else:
                    answer = await send(call, budgets.of(call))
            except FinTunnelError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as done:
        result: _T = done.value
        return result

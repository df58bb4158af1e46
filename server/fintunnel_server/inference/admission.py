"""How many sequences may wait: a bounded queue, and when to come again where it is full."""

from __future__ import annotations

import threading
import time
from collections import deque

from fintunnel_server.errors import EngineBusy
from fintunnel_server.inference.kv_cache import KvCache

__all__ = ["Admission"]

_REMEMBERED = 32  # sequences that have ended lately,
_LATELY = 60.0  # in seconds: what was before says nothing of now
_LONGEST_WAIT = 60.0


class Admission:
    """Counts the sequences that have no row of the KV cache yet. Methods may be called from any thread."""

    def __init__(self, cache: KvCache, *, max_waiting: int) -> None:
        self._cache = cache
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._ended: deque[float] = deque(maxlen=_REMEMBERED)  # when rows were given back
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    def enter(self) -> None:
        """One more waits for a row.

        Raises:
            EngineBusy: too many do already; it says in how many seconds half of them will have had their turn.
        """
        with self._lock:
            if self._waiting + self._cache.rows_in_use >= self._cache.rows_possible + self._max_waiting:
                raise EngineBusy(
                    f"排队已满（{self._max_waiting} 个），请稍后再试。", retry_after=self._seconds_to_wait()
                )
            self._waiting += 1

    def go(self) -> None:
        """One that waited has a row, or waits no more."""
        with self._lock:
            self._waiting -= 1

    def row_is_free(self) -> None:
        with self._lock:
            self._ended.append(time.monotonic())

    def _seconds_to_wait(self) -> float:
        since = time.monotonic() - _LATELY
        ended = [at for at in self._ended if at >= since]
        if len(ended) < 2:
            return 1.0
        each = (ended[-1] - ended[0]) / (len(ended) - 1)
        return min(_LONGEST_WAIT, max(1.0, each * self._waiting / 2))

"""How long to wait before a tunnel is opened again."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True)
class Backoff:
    """Seconds. The wait doubles from `first` to `longest`; it begins anew after a tunnel that stayed open for
    `steady`, so that one that opens and dies at once is not opened every second for hours."""

    first: float = 1.0
    longest: float = 300.0
    steady: float = 60.0

    def wait(self, attempt: int) -> float:
        """Before the attempt of that number, from 0: between half of the step and all of it, by chance, so that many
        servers that lost their tunnels together do not come back together."""
        step = min(self.longest, self.first * 2.0 ** min(attempt, 60))
        return random.uniform(step / 2, step)

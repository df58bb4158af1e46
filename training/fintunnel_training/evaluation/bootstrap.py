"""95 % percentile intervals from resamples of whole blocks of rows (Efron 1979; blocks after Künsch 1989).

A block is a day, since events of one day share their market. Two systems are compared on the same resamples, so that
what is hard about a day is hard for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from fintunnel_training.evaluation.arrays import Floats, Ints

__all__ = ["RESAMPLES", "Interval", "Resampling", "Statistic", "block_numbers"]

RESAMPLES = 1000
_AT_ONCE = 100  # resamples: of thousands of rows' scores, all at once would take gigabytes


@dataclass(frozen=True)
class Statistic:
    """A measure as a function of sums over rows.

    `by_block`: the sums of each block, shape (blocks, k), sparse where most are 0; `of_sums`: from sums of shape
    (…, k) to values of shape (…).
    """

    by_block: Floats | csr_array
    of_sums: Callable[[Floats], Floats]

    @property
    def value(self) -> float:
        """Of all rows, each once; NaN where the measure has no meaning."""
        return float(self.of_sums(np.asarray(self.by_block.sum(axis=0)).ravel()))

    def of_draws(self, draws: Floats) -> Floats:
        """Of resamples: `draws`, shape (resamples, blocks), says how often each block was drawn."""
        parts = [
            self.of_sums(draws[start : start + _AT_ONCE] @ self.by_block) for start in range(0, len(draws), _AT_ONCE)
        ]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Interval:
    """The ends over all resamples, and those of each seed by itself."""

    low: float
    high: float
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    def side(self) -> int:
        """1 or -1 where every seed's interval lies above or below zero, else 0."""
        if min(self.lows) > 0:
            return 1
        return -1 if max(self.highs) < 0 else 0


@dataclass(frozen=True)
class Resampling:
    """`resamples` of `blocks` blocks for each of `seeds`: the same draws for whatever is measured on these blocks."""

    blocks: int
    resamples: int = RESAMPLES
    seeds: tuple[int, ...] = (0,)

    def interval(self, statistic: Statistic, other: Statistic | None = None) -> Interval | None:
        """Of a statistic, or of its difference to another on the same blocks; None where it has no meaning in nearly
        every resample."""
        lows, highs, everything = [], [], []
        for seed in self.seeds:
            draws = _draws(self.blocks, self.resamples, seed)
            values = statistic.of_draws(draws)
            if other is not None:
                values = values - other.of_draws(draws)
            finite = values[np.isfinite(values)]
            if len(finite) < self.resamples / 2:
                return None
            low, high = np.quantile(finite, (0.025, 0.975))
            lows.append(float(low))
            highs.append(float(high))
            everything.append(finite)
        low, high = np.quantile(np.concatenate(everything), (0.025, 0.975))
        return Interval(float(low), float(high), tuple(lows), tuple(highs))


@lru_cache(maxsize=10)  # a few seeds of the same blocks, for one measure after the other
def _draws(blocks: int, resamples: int, seed: int) -> Floats:
    """How often each block is drawn, shape (resamples, blocks)."""
    counts = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    return counts.astype(np.float64)


def block_numbers(days: Ints) -> Ints:
    """The rows' days, any numbers, as 0 to days - 1."""
    numbers: Ints = np.unique(days, return_inverse=True)[1]
    return numbers

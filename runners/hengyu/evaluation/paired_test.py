"""The change of a number from a baseline to a run, its uncertainty, and the smallest detectable change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hengyu.evaluation.mean_test import groups_needed, interval, p_value, summary_interval, summary_p_value
from hengyu.evaluation.run_metrics import MetricValue

__all__ = ["ALIKE", "POWER", "PairedChange", "holm", "quantile", "smallest_detectable", "stored_error"]

ALIKE = 0.95
"""The assumed correlation of two paired estimates if it is unknown: for an encoder's raw and centred scores on the shipped
tasks it is 0.95 to 0.97, and far higher for a small change of code or dtype."""
POWER = 0.95


@dataclass(frozen=True)
class PairedChange:
    """Current minus baseline: negative is worse.

    Attributes:
        size: the difference of the two numbers.
        error: its standard error; None if unknown.
        freedom: the degrees of freedom of the error; infinite if it is taken as known.
        test: "identical", "paired", "stored", or "none".
        groups: the number of independent groups of pairs or queries; infinite if unknown.
        blocks: differences (K,) of the blocks of these groups, whose mean is the size; None if unknown.
        bound: the largest value that one group, or one block, can have.
        limit: the largest possible difference.
        resamples: the number of resamples behind a bootstrap error.
    """

    size: float
    error: float | None
    freedom: float = math.inf
    test: str = "stored"
    groups: float = math.inf
    blocks: NDArray[np.float64] | None = None
    bound: float = 2.0
    limit: float = 2.0
    resamples: int = 0

    @cached_property
    def p(self) -> float:
        """The two-sided p-value of no change; 1 if unknown."""
        if self.error is None or self.size == 0.0:
            return 1.0
        if self.blocks is not None:
            return p_value(self.blocks, self.bound)
        if math.isfinite(self.groups):
            return summary_p_value(self.size, self.error, self.groups, self.freedom, self.bound)
        return 0.0 if self.error == 0.0 else 2.0 * _tail(abs(self.size) / self.error, self.freedom)

    def interval(self, level: float) -> tuple[float, float] | tuple[None, None]:
        """Return the interval of the difference; none if unknown."""
        if self.error is None:
            return None, None
        if self.blocks is not None and len(self.blocks) > 1:
            low, high = interval(self.blocks, self.bound, level)
        elif self.groups < 2:
            low, high = -self.limit, self.limit
        elif math.isfinite(self.groups):
            low, high = summary_interval(self.size, self.error, self.groups, self.freedom, self.bound, level)
        else:
            reach = quantile(0.5 + 0.5 * level, self.freedom) * self.error
            low, high = self.size - reach, self.size + reach
        return max(low, -self.limit), min(high, self.limit)

    def groups_needed(self, alpha: float) -> int | None:
        """Return how many independent groups the same change needs for p <= alpha; None if no number suffices."""
        if self.error is None or self.size == 0.0 or not math.isfinite(self.groups):
            return None
        if self.blocks is not None:
            return groups_needed(self.blocks, int(self.groups), alpha, self.bound)
        spread = self.error * math.sqrt(self.groups)
        for n in np.geomspace(max(self.groups, 2.0), 1e7 * max(self.groups, 2.0), 3000):
            freedom = self.freedom * n / self.groups
            if summary_p_value(self.size, spread / math.sqrt(n), n, freedom, self.bound) <= alpha:
                return math.ceil(float(n))
        return None


def _tail(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t)) if math.isfinite(freedom) else NormalDist().cdf(-t)


def quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t, of the normal distribution for infinite freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share)) if math.isfinite(freedom) else NormalDist().inv_cdf(share)


def holm(p: Sequence[float], level: float) -> list[tuple[float, float]]:
    """Return Holm's adjusted p-value and the level of the interval, for each of m p-values.

    The k-th smallest is compared with (1 - level) / (m - k + 1); after the first one that is not rejected, the others
    keep its level, so that an interval excludes 0 exactly if the adjusted p-value is at most 1 - level.
    """
    m = len(p)
    out: list[tuple[float, float]] = [(1.0, level)] * m
    adjusted, share, going = 0.0, (1.0 - level) / max(m, 1), True
    for k, i in enumerate(sorted(range(m), key=lambda i: p[i])):
        adjusted = max(adjusted, min(1.0, (m - k) * p[i]))
        if going:
            share = (1.0 - level) / (m - k)
            going = p[i] <= share
        out[i] = (adjusted, 1.0 - share)
    return out


def stored_error(number: MetricValue, level: float) -> float | None:
    """Return the standard error of an interval, (high - low) / 2 z; None without an interval."""
    if number.low is None or number.high is None:
        return None
    return (number.high - number.low) / (2.0 * NormalDist().inv_cdf(0.5 + 0.5 * level))


def smallest_detectable(error: float, *, cells: int, level: float, freedom: float | None = None) -> float:
    """Return the smallest drop that a gate over a number of cells detects with probability `POWER`.

    ``(t + z) se`` with se = error sqrt(2 (1 - r)) for the standard error of one number; t is the quantile of Holm's
    first step. A paired comparison gives the freedom of its error, and r = `ALIKE`; stored intervals give None, and
    r = 0.
    """
    spread = error * math.sqrt(2.0 * (1.0 - (0.0 if freedom is None else ALIKE)))
    reach = quantile(1.0 - 0.5 * (1.0 - level) / max(cells, 1), math.inf if freedom is None else freedom)
    return (reach + NormalDist().inv_cdf(POWER)) * spread

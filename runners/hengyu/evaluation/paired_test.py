"""How far a number moved from a baseline to a run, how sure that is, and what could be told at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from hengyu.evaluation.run_metrics import MetricValue

__all__ = ["ALIKE", "POWER", "PairedChange", "holm", "quantile", "smallest_detectable", "stored_error"]

ALIKE = 0.95
"""The correlation taken for granted between two paired estimates where none is known yet: that of an encoder's raw and
centred scores on the shipped tasks is 0.95 to 0.97, a small change of code or dtype comes out far above."""
POWER = 0.95


@dataclass(frozen=True)
class PairedChange:
    """Current minus baseline: negative is worse.

    Attributes:
        size: the difference of the two numbers.
        error: its standard error; None where nothing tells.
        freedom: the degrees of freedom of the error; infinite for one that is taken as known.
        test: "identical", "paired", "stored", or "none".
        resamples: behind a paired error.
    """

    size: float
    error: float | None
    freedom: float = math.inf
    test: str = "stored"
    resamples: int = 0

    @property
    def p(self) -> float:
        """The two-sided p-value of no change; 1 where nothing tells."""
        if self.error is None or self.size == 0.0:
            return 1.0
        if self.error == 0.0:
            return 0.0
        return 2.0 * _tail(abs(self.size) / self.error, self.freedom)

    def interval(self, level: float) -> tuple[float, float] | tuple[None, None]:
        """Return the interval of the difference; none where nothing tells."""
        if self.error is None:
            return None, None
        reach = quantile(0.5 + 0.5 * level, self.freedom) * self.error
        return self.size - reach, self.size + reach


def _tail(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t)) if math.isfinite(freedom) else NormalDist().cdf(-t)


def quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t, of the normal distribution for infinite freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share)) if math.isfinite(freedom) else NormalDist().inv_cdf(share)


def holm(p: Sequence[float], level: float) -> list[tuple[float, float]]:
    """Return Holm's adjusted p-value and the level of the interval, for each of m p-values.

    The k-th smallest is held against (1 - level) / (m - k + 1); from the first one on that is not rejected, the
    others keep its level, so that an interval excludes 0 exactly where the adjusted p-value is at most 1 - level.
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
    """Return the standard error that an interval stands for, (high - low) / 2 z; None without an interval."""
    if number.low is None or number.high is None:
        return None
    return (number.high - number.low) / (2.0 * NormalDist().inv_cdf(0.5 + 0.5 * level))


def smallest_detectable(error: float, *, cells: int, level: float, freedom: float | None = None) -> float:
    """Return the smallest drop that is seen with probability `POWER` in a gate over so many cells.

    ``(t + z) se`` with se = error sqrt(2 (1 - r)) for the standard error of one number; t is the quantile of Holm's
    first step. A paired comparison gives the freedom of its error, and r = `ALIKE`; stored intervals give None, and
    r = 0.
    """
    spread = error * math.sqrt(2.0 * (1.0 - (0.0 if freedom is None else ALIKE)))
    reach = quantile(1.0 - 0.5 * (1.0 - level) / max(cells, 1), math.inf if freedom is None else freedom)
    return (reach + NormalDist().inv_cdf(POWER)) * spread

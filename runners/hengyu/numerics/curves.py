"""Curves over sizes, extrapolated with an error that the measured sizes themselves show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "Extrapolated", "extrapolate", "extrapolate_line"]

LEAST = 3
"""Sizes that an extrapolation needs at least: two to fit, one to hold against the fit."""

_TAIL = (
    5  # sizes at the end that laws are fitted to: smaller ones fit into caches, and cost mostly what every call costs
)
_HELD = 3  # sizes that laws are judged at
_FLOOR = 0.2  # relative error that timings have in any case: the same measurement an hour later differs by as much
_ALIKE = 0.2  # laws that err by less are equally good
_WIDER = 1.5  # the better of two laws at three sizes is better by chance, too; with it 19 of 20 ranges hold the truth (tests)
_EXACT = 1e-6  # relative error below which a line is exact

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Extrapolated:
    """A value at a size that was not measured, and the range that it is expected in.

    Attributes:
        value: the best estimate.
        low: lower end of the range.
        high: upper end of the range.
        law: "power" (v = c n^p), "affine" (v = a + b n), or "line" for sizes that are exactly so.
    """

    value: float
    low: float
    high: float
    law: str

    @property
    def exact(self) -> bool:
        """Whether the measured sizes leave nothing to doubt."""
        return self.low == self.high


def extrapolate(
    sizes: Sequence[float],
    values: Sequence[float],
    n: float,
    growth: tuple[float, float] = (-np.inf, np.inf),
    floor: float = _FLOOR,
) -> Extrapolated:
    """Extrapolate positive values (m,) that were measured at ascending sizes (m,) to size n.

    Two laws are fitted to the last five sizes: ``c n^p`` to the logarithms, ``a + b n`` with a, b >= 0 to the relative values.
    Each is judged by how far off it is, at worst, at each of the last three sizes when it is fitted to the smaller ones; the
    better one gives the value. Half as much again as its error, as a factor, is raised to the number of such steps from the
    largest size to n, because an error of the slope grows in proportion to the logarithm of the size. Where the other law is
    about as good, the range holds what it gives, too. It is never narrower than 20 % each way, by which timings of one machine
    differ in any case.

    ``growth`` holds the smallest and the largest power of n by which values can grow beyond the largest size; the range, but for
    these 20 %, stays within what it allows. ``floor`` is the relative error that stands for them, larger for values that
    were measured beside other work.

    Raises:
        ValueError: for fewer than three sizes, or values that are not positive.
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
    if len(x) < LEAST or x.shape != y.shape or not (np.diff(x) > 0).all() or not (y > 0).all() or not x[0] > 0 < n:
        raise ValueError(f"an extrapolation needs at least {LEAST} ascending sizes with positive values")
    x, y = x[-_TAIL:], y[-_TAIL:]
    steps = max(1.0, float(np.log(n / x[-1]) / np.log(x[-1] / x[-2])))
    found: list[tuple[float, float, str]] = []
    for law, fit in (("power", _power), ("affine", _affine)):
        missed = max(abs(float(np.log(fit(x[:k], y[:k], x[k]) / y[k]))) for k in range(max(2, len(x) - _HELD), len(x)))
        found.append((missed, fit(x, y, n), law))
    (missed, value, law), (other_missed, other, _) = sorted(found)
    error = float(np.hypot(floor, _WIDER * missed * steps))
    low, high = value * np.exp(-error), value * np.exp(error)
    if other_missed <= max(2 * missed, _ALIKE):
        low, high = min(low, other), max(high, other)
    if n > x[-1]:
        least, most = (float(y[-1] * (n / x[-1]) ** power) for power in growth)
        low, high = max(low, least * np.exp(-floor)), min(high, most * np.exp(floor))
        low, high = min(low, most), max(high, least)
        value = min(max(value, low), high)
    return Extrapolated(value, float(low), float(high), law)


def extrapolate_line(sizes: Sequence[float], values: Sequence[float], n: float) -> Extrapolated:
    """Extrapolate values (m,), such as bytes, that grow by a constant amount; exact where the measured ones do.

    Elsewhere the range is the largest relative distance of a measured value from the line through the last two, each way.
    """
    x, y = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
    if len(x) < LEAST or x.shape != y.shape or not (np.diff(x) > 0).all() or not (y > 0).all():
        raise ValueError(f"an extrapolation needs at least {LEAST} ascending sizes with positive values")
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
    missed = float(np.max(np.abs(y[-1] + slope * (x - x[-1]) - y) / y))
    if missed <= _EXACT:
        value = float(y[-1] + slope * (n - x[-1]))
        return Extrapolated(value, value, value, "line")
    slope, start = np.polyfit(x, y, 1, w=1 / y)
    value = float(start + slope * n)
    return Extrapolated(value, value * (1 - missed), value * (1 + missed), "affine")


def _power(x: Floats, y: Floats, n: float) -> float:
    slope, start = np.polyfit(np.log(x), np.log(y), 1)
    return float(np.exp(start + slope * np.log(n)))


def _affine(x: Floats, y: Floats, n: float) -> float:
    from scipy.optimize import nnls

    weights, _ = nnls(np.stack([1 / y, x / y], axis=1), np.ones(len(x)))
    return float(weights[0] + weights[1] * n)

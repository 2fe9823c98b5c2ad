"""Tests and confidence intervals for the mean of independent, bounded values, valid for small n and skewed values.

The test is Gaffke's (N. Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
nonnegative variable", Mathematical Methods of Statistics 14, 2005; E. Learned-Miller and P. S. Thomas, "A New Confidence
Interval for the Mean of a Bounded Random Variable", 2019): the values and one more at the worst possible bound are given
random weights, uniform on the simplex, and the p-value is the probability that the weighted mean lies on the other side.
For values that are 0 or 1 it is the Clopper-Pearson interval. The larger of its p-value and Student's t is reported, so
that n normal values have n - 1 degrees of freedom, and n equal values do not give certainty.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["groups_needed", "interval", "p_value", "summary_interval", "summary_p_value", "weighted_mean_tail"]

Floats = NDArray[np.float64]

_NODES = np.linspace(0.0, 14.0, 225)  # of the trapezoidal rule on t = sigma sinh(u); 14 leaves less than 1e-16
_MOST = 1e7  # at most so many times as many groups; more cannot be collected
_FLAT = 1e-12  # a smaller spread is rounding


def weighted_mean_tail(values: ArrayLike, bound: float, repeat: float = 1.0) -> float:
    """Return the probability that the randomly weighted mean of values (K,) and of one value ``bound`` is 0 or above.

    The weights are Dirichlet(repeat, ..., repeat, 1). They are proportional to independent gamma variables, so this is
    the tail of a sum whose moment generating function is known; it is inverted along a vertical line through the saddle
    point, to about ten digits.
    """
    terms = np.append(np.asarray(values, dtype=np.float64), bound)
    shapes = np.append(np.full(len(terms) - 1, repeat), 1.0)
    used = terms != 0.0
    terms, shapes = terms[used], shapes[used]
    if not terms.size or terms.min() > 0.0:
        return 1.0
    if terms.max() < 0.0:
        return 0.0
    terms = terms / np.abs(terms).max()
    upper = float(shapes @ terms) > 0.0
    return 1.0 - _tail(-terms, shapes) if upper else _tail(terms, shapes)


def _tail(terms: Floats, shapes: Floats) -> float:
    """Return P(sum of terms x Gamma(shapes) >= 0) for a sum whose mean is 0 or below."""
    from scipy.optimize import brentq

    top = 1.0 / float(terms.max())

    def slope(s: float) -> float:
        return float((shapes * terms / (1.0 - s * terms)).sum()) - 1.0 / s

    saddle = brentq(slope, 1e-13 * top, top * (1.0 - 1e-13), xtol=1e-15 * top, rtol=1e-12)
    curvature = float((shapes * (terms / (1.0 - saddle * terms)) ** 2).sum()) + saddle**-2
    width = 1.0 / math.sqrt(curvature)
    s = saddle + 1j * width * np.sinh(_NODES)
    exponent = -(shapes[:, None] * np.log1p(-terms[:, None] * s)).sum(axis=0)
    heights = (np.exp(exponent) / s).real * width * np.cosh(_NODES)
    return min(1.0, max(0.0, float(np.trapezoid(heights, _NODES)) / math.pi))


def p_value(values: ArrayLike, bound: float = 0.0) -> float:
    """Return the two-sided p-value of "the mean is 0" for independent values (K,); 1 for fewer than two.

    Args:
        values: (K,); sums over blocks of groups if there are more groups than blocks.
        bound: the largest absolute value that one group can have. If the largest value is larger, that counts.
    """
    x = np.asarray(values, dtype=np.float64)
    return _two_sided(x, bound, 1.0)


def _two_sided(x: Floats, bound: float, repeat: float) -> float:
    if len(x) < 2 or x.mean() == 0.0:
        return 1.0
    falling = x if x.mean() < 0.0 else -x
    edge = max(bound, float(np.abs(x).max()))
    return min(1.0, 2.0 * max(_student(falling, repeat), weighted_mean_tail(falling, edge, repeat)))


def _student(x: Floats, repeat: float = 1.0) -> float:
    from scipy.special import stdtr

    error = float(x.std(ddof=1)) / math.sqrt(len(x) * repeat)
    if error <= _FLAT:
        return 0.0
    return float(stdtr(len(x) * repeat - 1.0, x.mean() / error))


def interval(values: ArrayLike, bound: float = 0.0, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of the mean of values (K,), K >= 2; it excludes 0 where `p_value` is below 1 - level."""
    x = np.asarray(values, dtype=np.float64)
    return -_upper(-x, bound, level), _upper(x, bound, level)


def _upper(x: Floats, bound: float, level: float) -> float:
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    alpha = 0.5 - 0.5 * level
    mean, edge = float(x.mean()), max(bound, float(np.abs(x).max()))
    student = mean + float(stdtrit(len(x) - 1.0, 1.0 - alpha)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    if edge - mean <= _FLAT or weighted_mean_tail(x - edge, 0.0) > alpha:
        return max(student, edge)
    start = (
        min(student, mean + 0.999 * (edge - mean)) if weighted_mean_tail(x - student, edge - student) > alpha else mean
    )
    found = brentq(lambda at: weighted_mean_tail(x - at, edge - at) - alpha, start, edge, xtol=1e-7)
    return max(student, float(found))


def summary_p_value(mean: float, error: float, groups: float, freedom: float, bound: float = 2.0) -> float:
    """Return the two-sided p-value of "the mean is 0" if only the mean and its standard error are known.

    Of all distributions of one group's value with this mean and variance and no value above ``bound``, the one with two
    values is the most skewed (it is the extremal one of Bennett's inequality). For it Gaffke's probability is a tail of
    the beta distribution; the larger of that and of Student's t is returned. The standard error enters with its own
    uncertainty: as the one that makes the normal tail as large as Student's.

    Args:
        mean: the mean.
        error: its standard error.
        groups: the number of independent groups behind them.
        freedom: degrees of freedom of the standard error.
        bound: the largest absolute value that one group can have.
    """
    from scipy.special import betainc, ndtri, stdtr

    if mean == 0.0 or groups < 2:
        return 1.0
    fall = min(-abs(mean), 0.0)
    student = float(stdtr(freedom, fall / error)) if error > _FLAT else 0.0
    known = error if student < 1e-300 or not math.isfinite(freedom) else max(error, fall / float(ndtri(student)))
    variance = groups * known * known if error > _FLAT else 0.0
    share = variance / (variance + (bound - fall) ** 2)
    low = fall - variance / (bound - fall)
    bounded = betainc(groups * (1.0 - share), groups * share + 1.0, 1.0 + low / (bound - low))
    return min(1.0, 2.0 * max(student, float(bounded)))


def summary_interval(
    mean: float, error: float, groups: float, freedom: float, bound: float = 2.0, level: float = 0.95
) -> tuple[float, float]:
    """Return the confidence interval of `summary_p_value`; ``groups`` >= 2."""
    from scipy.optimize import brentq

    reach = []
    for sign in (-1.0, 1.0):

        def beyond(by: float, room: float = bound - sign * mean) -> float:
            return summary_p_value(-by, error, groups, freedom, max(room - by, _FLAT)) - (1.0 - level)

        room = bound - sign * mean
        reach.append(room if beyond(room) > 0.0 else float(brentq(beyond, 0.0, room, xtol=1e-9)))
    return mean - reach[0], mean + reach[1]


def groups_needed(values: ArrayLike, groups: int, alpha: float, bound: float = 0.0) -> int | None:
    """Return how many groups like those of values (K,) the same difference needs for p <= alpha.

    None if the difference is 0, or if no practical number suffices.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2 or x.mean() == 0.0:
        return None
    low, high = 1.0, 1.0
    while _two_sided(x, bound, high) > alpha:
        low, high = high, 2.0 * high
        if high > _MOST:
            return None
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _two_sided(x, bound, middle) > alpha else (low, middle)
    return math.ceil(groups * high)

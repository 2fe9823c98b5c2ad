"""Theory of random directions: the Johnson-Lindenstrauss bounds, and the angle between random vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "angle_density",
    "angle_variance",
    "cosine_quantile",
    "entropy_dim",
    "entropy_gap",
    "inner_bound",
    "jl_dim",
    "jl_eps",
    "norm_bound",
]

Floats = NDArray[np.floating[Any]]
_REACH = 40.0  # standard deviations: the density beyond is below the smallest double


def norm_bound(eps: float, dim: int) -> float:
    """Return the upper bound 2 exp(-eps^2 dim / 8) on P(| |u|^2 - 1 | >= eps), for u = v R, |v| = 1.

    R (d, dim) has independent entries of mean 0 and variance 1/dim, normal or +-1/sqrt(dim); 0 < eps <= 1. (From
    Chernoff's bound of chi-square: exp(-dim (eps - log(1 + eps)) / 2), and eps - log(1 + eps) >= eps^2 / 4 up to 1.)
    """
    return min(1.0, 2 * math.exp(-(eps**2) * dim / 8))


def inner_bound(eps: float, dim: int) -> float:
    """Return the upper bound 4 exp(-eps^2 dim / 8) on P(| <u, v> - <u0, v0> | >= eps), for images of unit vectors.

    <u, v> = (|u + v|^2 - |u - v|^2) / 4, and `norm_bound` holds for both squares.
    """
    return min(1.0, 4 * math.exp(-(eps**2) * dim / 8))


def _excess(n: int, failure: float, sides: int) -> float:
    """Return log(sides pairs / failure), the union bound over the n (n - 1) / 2 pairs."""
    if n < 2:
        raise ValueError(f"n={n} must be at least 2: the lemma is about pairs of vectors")
    if not 0 < failure < 1:
        raise ValueError(f"failure={failure:g} must lie between 0 and 1: it is a probability")
    return math.log(sides) + math.log(n) + math.log(n - 1) - math.log(2) - math.log(failure)


def jl_dim(n: int, eps: float, failure: float | None = None, *, inner: bool = False) -> int:
    """Return the dimension that keeps all pairs of n vectors within eps, except with probability ``failure``.

    8 log(c n (n - 1) / (2 failure)) / eps^2, rounded up: the union bound over all pairs, c = 2 for squared distances and
    c = 4 for inner products of unit vectors (``inner``). ``failure`` is 1/n by default, which gives about 24 log(n) /
    eps^2. Raises ValueError for numbers out of range.
    """
    if not 0 < eps <= 1:
        raise ValueError(f"eps={eps:g} must lie between 0 and 1, where the bound holds")
    return math.ceil(8 * _excess(n, 1 / n if failure is None else failure, 4 if inner else 2) / eps**2)


def jl_eps(n: int, dim: int, failure: float | None = None, *, inner: bool = False) -> float:
    """Return the eps within which ``dim`` dimensions keep all pairs of n vectors; above 1 the bound is void."""
    if dim < 1:
        raise ValueError(f"dim={dim} must be at least 1")
    return math.sqrt(8 * _excess(n, 1 / n if failure is None else failure, 4 if inner else 2) / dim)


def _check_dim(dim: int) -> None:
    if dim < 2:
        raise ValueError(f"dim={dim} must be at least 2: one dimension has no angles")


def angle_density(angle: Floats, dim: int) -> NDArray[np.float64]:
    """Return the density at angles (radians, 0..pi) between two independent directions, uniform in ``dim`` dimensions.

    Gamma(n/2) / (Gamma((n-1)/2) sqrt(pi)) sin(angle)^(n-2).
    """
    from scipy.special import betaln

    _check_dim(dim)
    at = np.asarray(angle, np.float64)
    if dim == 2:  # uniform; 0^0 is 1 here
        return np.where((at >= 0) & (at <= np.pi), 1 / np.pi, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = (dim - 2) * np.log(np.sin(at)) - betaln((dim - 1) / 2, 0.5)
    return np.where((at > 0) & (at < np.pi), np.exp(logs), 0.0)


def angle_variance(dim: int) -> float:
    """Return the variance of that angle in radians squared, by quadrature; its mean is pi/2. Near 1 / dim."""
    from scipy.integrate import quad

    _check_dim(dim)
    scale = 1 / math.sqrt(dim)

    def weight(s: float) -> float:
        sine = math.sin(s * scale)
        return math.exp(0.5 * (dim - 2) * math.log1p(-sine * sine)) if sine < 1 else 0.0

    end = min(math.pi / 2 / scale, _REACH)
    if dim == 2:
        return math.pi**2 / 12
    options = {"limit": 200, "points": [min(1.0, end / 2), min(4.0, end * 3 / 4)]}
    second = quad(lambda s: s * s * weight(s), 0, end, **options)[0]
    return float(scale**2 * second / quad(weight, 0, end, **options)[0])


def entropy_gap(dim: int) -> float:
    """Return h = log E[exp(n cos)] - n E[exp(n cos) cos] / E[exp(n cos)], the angle that of random directions, n = dim.

    log(N^2) + h is the entropy that a skip-gram model of N words has whose vectors are spread evenly over the sphere of radius
    sqrt(n). Near -n log(golden ratio) / 2. Su, kexue.fm 7695.
    """
    from scipy.integrate import quad
    from scipy.special import betaln

    _check_dim(dim)
    peak = math.acos((math.sqrt((dim - 2) ** 2 + 4 * dim**2) - (dim - 2)) / (2 * dim))  # of the integrand

    def height(angle: float) -> float:
        return (dim - 2) * math.log(math.sin(angle)) + dim * math.cos(angle) if dim > 2 else dim * math.cos(angle)

    top = height(peak) if dim > 2 else float(dim)
    options = {"limit": 200, "points": [min(peak + 1 / math.sqrt(dim), 3.0), max(peak, 1e-6)], "epsabs": 0}

    def weight(angle: float) -> float:
        return math.exp(height(angle) - top) if 0 < angle < math.pi or dim == 2 else 0.0

    whole = quad(weight, 0, math.pi, **options)[0]
    turned = quad(lambda angle: weight(angle) * math.cos(angle), 0, math.pi, **options)[0]
    return float(math.log(whole) + top - betaln((dim - 1) / 2, 0.5) - dim * turned / whole)


def entropy_dim(n: int) -> int:
    """Return the smallest dimension of at least 2 in which that entropy of n words is below 0; about 8.31 log(n).

    The post rounds the factor to 8.33. Raises ValueError for n < 2.
    """
    if n < 2:
        raise ValueError(f"n={n} must be at least 2")
    low = max(2, math.floor(7.5 * math.log(n)) - 3)
    return next(dim for dim in range(low, low + 10_000) if 2 * math.log(n) + entropy_gap(dim) < 0)


def cosine_quantile(p: float, dim: int) -> float:
    """Return the cosine below which a share p of such pairs is: (cosine + 1) / 2 is Beta((n-1)/2, (n-1)/2)."""
    from scipy.special import betaincinv

    _check_dim(dim)
    if not 0 <= p <= 1:
        raise ValueError(f"p={p:g} must lie in 0..1")
    half = (dim - 1) / 2
    return float(2 * betaincinv(half, half, p) - 1)

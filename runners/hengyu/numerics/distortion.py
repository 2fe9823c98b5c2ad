"""Measures how much a random projection changes lengths and inner products of real vectors, against the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.projections import PROVED, draw
from hengyu.numerics.theory import inner_bound, norm_bound

__all__ = ["QUANTILES", "Distortion", "measure"]

Floats = NDArray[np.floating[Any]]
_ROWS = 4000  # projected at most: at the lemma's dimension each has thousands of columns
_BLOCK = 512  # pairs
QUANTILES = (0.005, 0.05, 0.5, 0.95, 0.995)


@dataclass(frozen=True)
class Distortion:
    """How much ``jl(dim, kind)`` changes unit vectors, over several draws.

    Attributes:
        norms: `QUANTILES` of |u|^2 - 1 over all vectors and draws.
        distances: `QUANTILES` of |u - v|^2 / |u0 - v0|^2 - 1 over sampled pairs.
        inners: `QUANTILES` of <u, v> - <u0, v0>.
        outside: the share of norms, distances and inner products that changed by eps or more.
        bounds: the lemma's upper bound on that share, in expectation; None for kinds without a proof.
    """

    kind: str
    dim: int
    eps: float
    seeds: int
    vectors: int
    pairs: int
    norms: tuple[float, ...]
    distances: tuple[float, ...]
    inners: tuple[float, ...]
    outside: tuple[float, float, float]
    bounds: tuple[float, float, float] | None


def measure(
    x: Floats,
    dim: int,
    *,
    kind: str = "gaussian",
    eps: float = 0.1,
    pairs: int = 10_000,
    seeds: int = 10,
    seed: int = 0,
) -> Distortion:
    """Project the normalised rows of x (n, d) with ``seeds`` draws and return how much they changed.

    At most 4,000 rows, and ``pairs`` pairs of different ones among them, are sampled by ``seed``. Raises ValueError for
    numbers out of range and `Degenerate` for fewer than two different directions.
    """
    if not 0 < eps <= 1:
        raise ValueError(f"eps={eps:g} must lie between 0 and 1, where the bound holds")
    rng = np.random.default_rng((seed, *b"distortion"))
    unit = np.asarray(x, np.float64)[np.sort(rng.permutation(np.flatnonzero(np.any(x, axis=1)))[:_ROWS])]
    n = len(unit)
    if n < 2:
        raise Degenerate(f"{n} vectors are non-zero; distortion is measured on pairs")
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    first = rng.integers(0, n, pairs)
    second = (first + rng.integers(1, n, pairs)) % n
    apart, before = _pairs(unit, first, second)
    differ = apart > 1e-12  # equal vectors have no distance that could change
    if not differ.any():
        raise Degenerate("all sampled pairs have equal directions, so there is no distance to measure")
    norms, distances, inners = [], [], []
    for number in range(seeds):
        u = draw(kind, unit.shape[1], dim, seed + number)(unit)
        norms.append(np.einsum("nd,nd->n", u, u) - 1)
        moved, after = _pairs(u, first, second)
        distances.append(moved[differ] / apart[differ] - 1)
        inners.append(after - before)
    found = [np.concatenate(part) for part in (norms, distances, inners)]
    quantiles = [tuple(float(q) for q in np.quantile(part, QUANTILES)) for part in found]
    outside = [float((np.abs(part) >= eps).mean()) for part in found]
    one, two = norm_bound(eps, dim), inner_bound(eps, dim)
    return Distortion(
        *(kind, dim, eps, seeds, n, pairs),
        *(quantiles[0], quantiles[1], quantiles[2]),
        outside=(outside[0], outside[1], outside[2]),
        bounds=(one, one, two) if kind in PROVED else None,
    )


def _pairs(
    u: Floats, first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return |u - v|^2 and <u, v> (n,) of pairs of rows, block by block."""
    apart, inner = np.empty(len(first)), np.empty(len(first))
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        a, b = u[first[part]], u[second[part]]
        inner[part] = np.einsum("nd,nd->n", a, b)
        a -= b
        apart[part] = np.einsum("nd,nd->n", a, a)
    return apart, inner

"""What a random projection does to real vectors: how far lengths and inner products move, beside the bounds."""

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
_ROWS = 4000  # that are projected: at the lemma's dimension each is thousands of numbers wide
_BLOCK = 512  # pairs
QUANTILES = (0.005, 0.05, 0.5, 0.95, 0.995)


@dataclass(frozen=True)
class Distortion:
    """How far unit vectors move under ``jl(dim, kind)``, over several draws.

    Attributes:
        norms: `QUANTILES` of |u|^2 - 1, of every vector under every draw.
        distances: those of |u - v|^2 / |u0 - v0|^2 - 1, of sampled pairs.
        inners: those of <u, v> - <u0, v0>.
        outside: the share of norms, distances and inner products that moved by eps or more.
        bounds: what the lemma says that share is at most, in expectation; None for kinds it is not proved of.
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
    """Project the rows of x (n, d), brought to length 1, with ``seeds`` draws and return how far they moved.

    At most 4,000 rows, and ``pairs`` pairs of different ones among them, are sampled by ``seed``. Raises ValueError for
    numbers out of range and `Degenerate` for fewer than two different directions.
    """
    if not 0 < eps <= 1:
        raise ValueError(f"eps={eps:g} must lie between 0 and 1: the bound is proved there")
    rng = np.random.default_rng((seed, *b"distortion"))
    unit = np.asarray(x, np.float64)[np.sort(rng.permutation(np.flatnonzero(np.any(x, axis=1)))[:_ROWS])]
    n = len(unit)
    if n < 2:
        raise Degenerate(f"{n} vectors are not zero; distortion is measured on pairs")
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    first = rng.integers(0, n, pairs)
    second = (first + rng.integers(1, n, pairs)) % n
    apart, before = _pairs(unit, first, second)
    differ = apart > 1e-12  # of equal vectors no distance can be stretched
    if not differ.any():
        raise Degenerate("all sampled pairs are of equal direction; there is no distance to measure")
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

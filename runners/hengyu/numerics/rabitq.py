"""RaBitQ: directions at few bits whose inner products are estimated without bias, the error of that, and its measurement.

Gao, Long, RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate nearest neighbor search,
SIGMOD 2024; for several bits Gao et al., Practical and asymptotically optimal quantization of high-dimensional vectors for
approximate nearest neighbor search, SIGMOD 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.projections import draw
from hengyu.numerics.theory import cosine_quantile

__all__ = ["MOST_BITS", "QUANTILES", "RabitqError", "grid", "measure_rabitq", "rabitq_alignment", "rabitq_error"]

Floats = NDArray[np.floating[Any]]
MOST_BITS = 9
QUANTILES = (0.005, 0.05, 0.5, 0.95, 0.995)
_TRIED = 48  # scales that a row is rounded at, of which the best counts
_BLOCK = 1024
_ROWS = 4000
_SIMULATED = 256  # random directions where there is no formula


def grid(x: Floats, bits: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the points of the grid (n, d) nearest in angle to rows x (n, d), and the cosines (n,); zero rows give cosine 0.

    A coordinate of the grid is its sign times k + 1/2, 0 <= k < 2^(bits - 1). With one bit the nearest point is that of the signs;
    with more, the best of 48 scales to round at.
    """
    out = np.empty(x.shape, np.float32)
    cosine = np.empty(len(x))
    for start in range(0, len(x), _BLOCK):
        part = np.asarray(x[start : start + _BLOCK], np.float64)
        size = np.abs(part)
        length = np.sqrt(np.einsum("nd,nd->n", part, part))
        best = np.full(size.shape, 0.5)
        found = _cosines(best, size, length)
        if bits > 1:
            top = size.max(axis=1, keepdims=True)
            steps = 2 ** (bits - 1)
            for share in np.geomspace(0.25, 1.6, _TRIED):
                # the largest coordinate is rounded to the share of the range, and what lies beyond the range to its end
                scaled = np.divide(size, top, out=np.zeros_like(size), where=top > 0) * (steps / share)
                tried = np.minimum(np.floor(scaled), steps - 1) + 0.5
                cosines = _cosines(tried, size, length)
                better = cosines > found
                best[better], found[better] = tried[better], cosines[better]
        out[start : start + _BLOCK] = np.where(part < 0, -best, best)
        cosine[start : start + _BLOCK] = found
    return out, cosine


def _cosines(points: Floats, size: Floats, length: Floats) -> NDArray[np.float64]:
    product = np.einsum("nd,nd->n", points, size)
    norms = np.sqrt(np.einsum("nd,nd->n", points, points)) * length
    found: NDArray[np.float64] = np.divide(product, norms, out=np.zeros(len(product)), where=norms > 0)
    return found


def rabitq_alignment(dim: int, bits: int = 1) -> float:
    """Return the mean cosine of a random direction of ``dim`` dimensions and its code.

    With one bit sqrt(dim / pi) 2 Gamma(dim / 2) / ((dim - 1) Gamma((dim - 1) / 2)), about 0.8; with more bits the mean over 256
    directions.
    """
    from scipy.special import gammaln

    if dim < 2:
        raise ValueError(f"dim={dim} must be at least 2")
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"bits={bits} must lie in 1..{MOST_BITS}")
    if bits == 1:
        logs = gammaln(dim / 2) - gammaln((dim - 1) / 2)
        return float(2 * np.sqrt(dim / np.pi) * np.exp(logs) / (dim - 1))
    return float(grid(np.random.default_rng((dim, bits)).normal(size=(_SIMULATED, dim)), bits)[1].mean())


def rabitq_error(dim: int, alignment: float, share: float = 0.95, inner: float = 0.0) -> float:
    """Return the error that a share of the estimates of an inner product of unit vectors stay within.

    The rotation is random, so given the cosine s of a vector and its code (``alignment``), the estimate is the inner product plus
    sqrt(1 / s^2 - 1) sqrt(1 - inner^2) times the cosine of two random directions in dim - 1 dimensions: without bias, with a
    standard deviation of sqrt((1 / s^2 - 1) (1 - inner^2) / (dim - 1)).
    """
    if dim < 3:
        raise ValueError(f"dim={dim} must be at least 3")
    reach = cosine_quantile(0.5 + share / 2, dim - 1)
    return float(np.sqrt(1 / alignment**2 - 1) * np.sqrt(1 - inner**2) * reach)


@dataclass(frozen=True)
class RabitqError:
    """How much RaBitQ changes inner products of unit vectors, over several rotations.

    Attributes:
        errors: `QUANTILES` of the estimate minus the inner product.
        bias: the mean error; its standard error is ``bias_error``, over rotations.
        alignment: the mean cosine of a vector and its code.
        outside: the share of errors of eps or more.
        bound: the share that theory gives for these vectors, in expectation over rotations.
    """

    bits: int
    dim: int
    eps: float
    seeds: int
    vectors: int
    pairs: int
    errors: tuple[float, ...]
    bias: float
    bias_error: float
    alignment: float
    outside: float
    bound: float


def measure_rabitq(
    x: Floats, bits: int, *, eps: float = 0.1, pairs: int = 10_000, seeds: int = 10, seed: int = 0
) -> RabitqError:
    """Estimate inner products of normalised rows of x (n, d) from the code of one of them, over ``seeds`` rotations.

    At most 4,000 rows, and ``pairs`` pairs of different ones, are sampled by ``seed``. Raises ValueError for numbers out of range,
    `Degenerate` for fewer than two vectors or three columns.
    """
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"bits={bits} must lie in 1..{MOST_BITS}")
    rng = np.random.default_rng((seed, *b"rabitq"))
    unit = np.asarray(x, np.float64)[np.sort(rng.permutation(np.flatnonzero(np.any(x, axis=1)))[:_ROWS])]
    n, d = unit.shape
    if n < 2 or d < 3:
        raise Degenerate(f"{n} vectors of {d} columns are non-zero; RaBitQ is measured on pairs of at least 3 columns")
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    first = rng.integers(0, n, pairs)
    second = (first + rng.integers(1, n, pairs)) % n
    true = np.einsum("nd,nd->n", unit[first], unit[second])
    errors, biases, alignments, tails = [], [], [], []
    for number in range(seeds):
        turned = np.asarray(draw("orthogonal", d, d, seed + number)(unit))
        points, cosine = grid(turned, bits)
        wide = points.astype(np.float64)
        wide /= np.linalg.norm(wide, axis=1, keepdims=True) * cosine[:, None]
        error = np.einsum("nd,nd->n", wide[second], turned[first]) - true
        errors.append(error)
        biases.append(float(error.mean()))
        alignments.append(float(cosine.mean()))
        tails.append(_tail(eps, d, cosine[second], true))
    every = np.concatenate(errors)
    spread = float(np.std(biases, ddof=1) / seeds**0.5) if seeds > 1 else 0.0
    return RabitqError(
        *(bits, d, eps, seeds, n, pairs),
        errors=tuple(float(q) for q in np.quantile(every, QUANTILES)),
        bias=float(every.mean()),
        bias_error=spread,
        alignment=float(np.mean(alignments)),
        outside=float((np.abs(every) >= eps).mean()),
        bound=float(np.mean(tails)),
    )


def _tail(eps: float, dim: int, cosine: Floats, inner: Floats) -> float:
    """Return the mean probability of errors of eps or more: (cosine + 1) / 2 of random directions is a Beta variable."""
    from scipy.special import betainc

    scale = np.sqrt(np.maximum(1 / cosine**2 - 1, 1e-30)) * np.sqrt(np.maximum(1 - inner**2, 1e-30))
    half = (dim - 2) / 2
    return float(np.mean(2 * betainc(half, half, (1 - np.minimum(eps / scale, 1)) / 2)))

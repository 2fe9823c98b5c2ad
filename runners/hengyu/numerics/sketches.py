"""The largest eigenvalues of a covariance from a few passes over the rows, without the covariance itself (randomized SVD)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.moments import Spectrum
from hengyu.numerics.sample import Sample

__all__ = ["OVERSAMPLE", "Sketched", "expected_error", "sketch_spectrum"]

Floats = NDArray[np.float64]

OVERSAMPLE = 32
"""Directions that a sketch has beyond those that are returned: the last ones are the least exact."""

_PROBES = 10
_RAISE = 2.0  # the bound holds except with probability _RAISE ** -_PROBES
_CELLS = 1 << 21  # numbers in a block of rows


@dataclass(frozen=True)
class Sketched:
    """What passes over rows (n, d) show of their covariance.

    Attributes:
        count: number of rows, repeats counted.
        mean: (d,).
        spectrum: the k largest eigenvalues (k,), descending, and eigenvectors (d, k), of the approximation.
        variance: the trace of the covariance, exact.
        bound: an upper bound on the spectral norm of covariance minus approximation, except with probability 1/1,024.
    """

    count: float
    mean: Floats
    spectrum: Spectrum
    variance: float
    bound: float

    @property
    def explained(self) -> float:
        """The share of the variance that the approximation holds; 0 if there is none."""
        return float(self.spectrum.values.sum() / self.variance) if self.variance > 0 else 0.0


def sketch_spectrum(sample: Sample, rank: int, passes: int = 4, seed: int = 0) -> Sketched:
    """Return the ``rank`` largest eigenvalues of the covariance of rows (n, d) with their eigenvectors, approximately.

    A random matrix of rank + 32 columns is multiplied by the covariance in each of ``passes`` passes over the rows and
    orthogonalised in between; the last product gives the Nystrom approximation. It costs 4 n d (rank + 32) operations a pass
    and memory for d (rank + 32) numbers, where the exact way costs n d^2 + 9 d^3 operations and memory for d^2. Halko,
    Martinsson, Tropp, Finding structure with randomness, 2011 (also Su, kexue.fm 8706); the last step is algorithm 3 of Tropp,
    Yurtsever, Udell, Cevher, Fixed-rank approximation of a positive-semidefinite matrix from streaming data, 2017. Ten
    more random columns in the last pass measure what was missed: lemma 4.1 of Halko et al. makes them a bound.

    With ``rank`` + 32 of at least d the result is exact. Raises ValueError if rank or passes are below 1, or there are no rows.
    """
    if rank < 1 or passes < 1:
        raise ValueError(f"a sketch needs a rank and passes of at least 1, not {rank} and {passes}")
    width = sample.width
    if not width:
        raise ValueError("there are no rows to sketch")
    rng = np.random.default_rng(seed)
    columns = min(rank + OVERSAMPLE, width)
    basis: Floats = np.eye(width) if columns == width else np.linalg.qr(rng.standard_normal((width, columns)))[0]
    probes = rng.standard_normal((width, _PROBES))
    mean: Floats | None = None
    for _ in range(1, passes if columns < width else 1):
        seen = _product(sample, basis, np.float32, mean)
        basis, mean = np.linalg.qr(seen.image)[0], seen.mean
    last = _product(sample, np.concatenate([basis, probes], axis=1), np.float64, mean)
    image, probed = last.image[:, :columns], last.image[:, columns:]
    values, vectors = _nystrom(basis, image)
    values, vectors = values[:rank], vectors[:, :rank]
    missed = np.linalg.norm(probed - (vectors * values) @ (vectors.T @ probes), axis=0)
    bound = _RAISE * math.sqrt(2 / math.pi) * float(missed.max())
    return Sketched(last.count, last.mean, Spectrum(values, vectors), last.trace, bound)


def expected_error(values: Floats, rank: int, passes: int = 4) -> float:
    """Return an upper bound on the mean spectral error of `sketch_spectrum`, from the true eigenvalues (d,), descending.

    With l = rank + p columns, s the first eigenvalue left out and t_j the later ones: for q = passes - 1 of at least 1 it is
    s + ((1 + sqrt(rank / (p - 1))) s^r + e sqrt(l) / p (sum t_j^(2r))^(1/2))^(1/r), r = q + 1/2, from theorem 10.6 and
    proposition 8.6 of Halko et al. for the square root of the covariance; for one pass it is proposition 2.2 of Frangella,
    Tropp, Udell, Randomized Nystrom preconditioning, 2021. The s in front is the cut from l columns back to ``rank``.
    """
    known = np.asarray(values, np.float64).clip(0)
    rest = known[rank:]
    if not rest.size or rest[0] <= 0:
        return 0.0
    first, p = float(rest[0]), OVERSAMPLE
    if len(known) <= rank + p:
        return first
    ratio = rest / first
    if passes == 1:
        total = float(ratio.sum())
        return first * (2 + 2 * rank / (p - 1) + 2 * math.e**2 * (rank + p) / (p**2 - 1) * total)
    r = passes - 0.5
    tail = math.e * math.sqrt(rank + p) / p * math.sqrt(float((ratio ** (2 * r)).sum()))
    return float(first + first * (1 + math.sqrt(rank / (p - 1)) + tail) ** (1 / r))


@dataclass
class _Product:
    """The covariance of rows times a matrix, with count, mean and trace."""

    count: float
    mean: Floats
    image: Floats
    trace: float


def _product(sample: Sample, matrix: Floats, kind: type[np.floating[Any]], near: Floats | None = None) -> _Product:
    """Multiply the covariance of rows (n, d) by a matrix (d, l) in one pass.

    The rows are taken relative to ``near`` (d,), a point near their mean: that of the first block where none is given. Products
    within a block are taken in ``kind``; float32 is enough for a basis that is orthogonalised afterwards.
    """
    narrow = matrix.astype(kind)
    count, trace = 0.0, 0.0
    total: Floats = np.zeros(len(matrix))
    image: Floats = np.zeros_like(matrix)
    for rows, times in sample.blocks(max(64, _CELLS // len(matrix))):
        w = np.asarray(times, np.float64)
        if near is None:
            near = np.asarray(rows, np.float64).mean(axis=0)
        block: Any = np.subtract(rows, near.astype(kind), dtype=kind)
        total += w.astype(kind) @ block
        if (w != 1).any():
            block *= np.sqrt(w)[:, None].astype(kind)
        image += block.T @ (block @ narrow)
        trace += float(np.einsum("nd,nd->", block, block))
        count += float(w.sum())
    if count == 0 or near is None:
        raise ValueError("there are no rows to sketch")
    freedom = max(count - 1.0, 1.0)
    image -= np.outer(total, total @ matrix) / count
    trace -= float(total @ total) / count
    return _Product(count, near + total / count, image / freedom, trace / freedom)


def _nystrom(basis: Floats, image: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return eigenvalues (l,), descending, and eigenvectors (d, l) of A Q (Q^T A Q)^-1 Q^T A, from Q (d, l) and A Q."""
    tiny = float(np.finfo(np.float64).eps) * float(np.linalg.norm(image))
    if tiny == 0:
        return np.zeros(basis.shape[1]), basis
    lifted = image + tiny * basis  # so that the Cholesky factor exists; taken off again below
    core = basis.T @ lifted
    factor = np.linalg.cholesky((core + core.T) / 2)
    from scipy.linalg import solve_triangular

    root: Any = solve_triangular(factor, lifted.T, lower=True).T
    vectors, singular, _ = np.linalg.svd(root, full_matrices=False)
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return (singular**2 - tiny).clip(0), vectors

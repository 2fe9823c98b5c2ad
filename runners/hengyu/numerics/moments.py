"""Count, mean and scatter of rows in float64; they can be merged, so fits can stream and be distributed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.sample import Sample

__all__ = ["FLOOR", "LEAF", "Moments", "Spectrum", "effective_rank", "spanning_columns", "tree"]

Floats = NDArray[np.floating[Any]]

M = TypeVar("M", bound="Moments")

LEAF = 1 << 16
"""Rows in one leaf of the merge tree."""

FLOOR = 1e-12
"""Relative eigenvalue floor: float32 vectors carry no signal in directions with less variance.

The output of a LayerNorm satisfies a linear equation, so the covariance of BERT vectors has one direction of pure
rounding noise (relative eigenvalue near 1e-15); whitening would scale that noise up to unit variance.
"""


def effective_rank(values: NDArray[np.float64]) -> float:
    """Return the exponential of the entropy of eigenvalues (d,) normalised to sum 1; 0 if all are 0."""
    total = float(values.clip(0).sum())
    if total <= 0:
        return 0.0
    p = values.clip(0) / total
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (d,), descending, and eigenvectors (d, d) in columns, of a covariance matrix.

    The sign of each eigenvector is fixed (its largest component is positive), so that the same covariance gives the same
    vectors everywhere. Similarities do not depend on it.
    """

    values: NDArray[np.float64]
    vectors: NDArray[np.float64]

    def rank(self, floor: float = FLOOR) -> int:
        """Return how many eigenvalues exceed ``floor`` times the largest."""
        if not self.values.size or self.values[0] <= 0:
            return 0
        return int(np.count_nonzero(self.values > floor * self.values[0]))

    @property
    def effective_rank(self) -> float:
        """The exponential of the entropy of the normalised eigenvalues (Roy and Vetterli, 2007)."""
        return effective_rank(self.values)

    def condition(self, floor: float = FLOOR) -> float | None:
        """Return the largest eigenvalue over the smallest above the floor; None if there is none."""
        rank = self.rank(floor)
        return float(self.values[0] / self.values[rank - 1]) if rank else None

    def outline(self, points: int = 32) -> dict[str, list[float]]:
        """Return indices ("index", from 1) and eigenvalues relative to the largest ("share"), for a log-log plot.

        Indices are powers of two, the rank, and about ``points`` in between; values below the floor are rounding errors and
        left out.
        """
        rank = self.rank()
        if not rank:
            return {"index": [], "share": []}
        spaced = np.unique(np.round(np.geomspace(1, rank, points)).astype(int))
        index = np.union1d(spaced, [2**k for k in range(rank.bit_length()) if 2**k <= rank])
        share = self.values[index - 1] / self.values[0]
        return {"index": index.tolist(), "share": [float(f"{v:.3g}") for v in share]}


@dataclass(frozen=True)
class Moments:
    """Number of rows (repeats counted), mean (d,) and scatter (d, d) = sum of (x - mean)(x - mean)^T, in float64."""

    count: float
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, x: Floats | Sample, counts: NDArray[np.integer[Any]] | None = None) -> Self:
        """Compute the moments of rows x (n, d), row i counted ``counts[i]`` times; O(d^2) memory beyond a block of rows.

        The moments of every `LEAF` rows are merged along a fixed `tree`, so the result is bit-identical however it is spread.
        """
        sample = x if isinstance(x, Sample) else Sample.of(x, counts)
        starts = range(0, len(sample), LEAF)
        total = tree(cls._leaf(sample.part(start, start + LEAF)) for start in starts)
        if total is None:
            raise ValueError("there are no rows to compute moments of")
        return total

    @classmethod
    def _leaf(cls, sample: Sample) -> Self | None:
        """Compute the moments of some rows, block by block; None if all counts are 0.

        Blocks are merged by the update of Chan, Golub and LeVeque (1979), which is exact in the order of rounding.
        """
        total: Self | None = None
        for rows, times in sample.blocks():
            block = np.asarray(rows, dtype=np.float64)
            w = np.asarray(times, dtype=np.float64)
            n = float(w.sum())
            if n == 0:
                continue
            mean = (w @ block) / n
            own = block is not rows
            block = np.subtract(block, mean, out=block if own else None)  # float64 rows belong to the caller
            if (w != 1).any():
                block *= np.sqrt(w)[:, None]
            # a matrix with itself: BLAS computes one triangle (syrk), half the work of a general product
            part = cls(n, mean, block.T @ block)
            total = part if total is None else total.merge(part)
        return total

    def merge(self, other: Self) -> Self:
        """Return the moments of both sets of rows together."""
        n = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / n)
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.count * other.count / n)
        return type(self)(n, mean, scatter)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The sample covariance (d, d), with n - 1 in the denominator as in `numpy.cov`."""
        return self.scatter / max(self.count - 1.0, 1.0)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigendecomposition of the covariance, shared by whitening, PCA and every dimension of both."""
        values, vectors = np.linalg.eigh((self.covariance + self.covariance.T) / 2)
        values, vectors = values[::-1].copy(), vectors[:, ::-1].copy()
        largest = np.abs(vectors).argmax(axis=0)
        vectors *= np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
        return Spectrum(values, vectors)


def tree(parts: Iterable[M | None]) -> M | None:
    """Merge moments in order along a binary tree: neighbours, then neighbouring pairs, and so on; O(log n) memory.

    The tree depends only on their number. Parts without rows (None) keep their place and add nothing.
    """

    def joined(left: M | None, right: M | None) -> M | None:
        return left if right is None else right if left is None else left.merge(right)

    held: list[tuple[int, M | None]] = []  # sizes and moments of complete subtrees, the largest first
    for part in parts:
        held.append((1, part))
        while len(held) > 1 and held[-1][0] == held[-2][0]:
            (size, left), (_, right) = held[-2:]
            held[-2:] = [(2 * size, joined(left, right))]
    total: M | None = None
    for _, part in reversed(held):
        total = joined(part, total)
    return total


def spanning_columns(moments: Moments) -> NDArray[np.int64]:
    """Return columns (r,), ascending, that all other columns are linear functions of.

    r is the covariance's rank; the columns are chosen by pivoted QR, so those left out add the least variance.
    """
    from scipy.linalg import qr

    spectrum = moments.spectrum
    root = np.sqrt(spectrum.values.clip(0))[:, None] * spectrum.vectors.T
    pivots = qr(root, mode="r", pivoting=True)[1]
    chosen: NDArray[np.int64] = np.sort(pivots[: spectrum.rank()]).astype(np.int64)
    return chosen

"""Embedding geometry: mean, spectrum, angles and hubs of a set of vectors; sampled and seeded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.moments import Moments, effective_rank
from hengyu.numerics.similarity import cosines, cosines_by_dim
from hengyu.numerics.theory import angle_density

__all__ = [
    "BINS",
    "Cloud",
    "describe",
    "describe_cuts",
    "hubness",
    "means_same",
    "random_histogram",
    "unit_rows",
    "vmf_concentration",
]

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]
BINS = 36  # of the angles, 5 degrees each
_BLOCK = 1024
_WIDEST = 8192  # rows or columns: the spectrum costs the cube of the smaller number
_SAME = 0.8  # of the scale: above 4 of 5, as is usual for alignment


@dataclass(frozen=True)
class Cloud:
    """What `describe` found of n vectors of ``dim`` columns.

    Attributes:
        mean_norm: the length of the mean of the normalised vectors: 0 around the origin, 1 for a single point.
        anisotropy: the mean cosine of random pairs (Ethayarajh, 2019).
        effective_rank: the exponential of the entropy of the normalised eigenvalues of the covariance (Roy, Vetterli, 2007).
        spectrum: the share of the variance in the first 1, 2, 4, 8, ... principal directions.
        concentration: kappa of the von Mises-Fisher distribution (see `vmf_concentration`); None for a single point.
        uniformity: log mean exp(-2 |u - v|^2) of random pairs, lower is more uniform (Wang and Isola, ICML 2020).
        alignment: mean |u - v|^2 of the pairs with the same meaning; None without any.
        hubness: the skewness of how often a vector is among the 10 nearest of another (see `hubness`).
        angles: the share (bins,) of random pairs at each angle, 0 to 180 degrees.
        angle_mean, angle_sd: mean and standard deviation of those angles, in degrees.
    """

    n: int
    dim: int
    mean_norm: float
    anisotropy: float
    effective_rank: float
    spectrum: tuple[float, ...]
    concentration: float | None
    uniformity: float
    alignment: float | None
    hubness: float
    angles: tuple[float, ...]
    angle_mean: float
    angle_sd: float


def describe(
    x: Floats,
    same: tuple[Ids, Ids] | None = None,
    *,
    rows: int = 5000,
    pairs: int = 100_000,
    seed: int = 0,
) -> Cloud:
    """Describe the rows of x (n, d), without zero rows.

    Args:
        x: the vectors.
        same: row numbers of the pairs with the same meaning, for the alignment.
        rows: how many rows, drawn by ``seed``, are used for the hubness, which is quadratic in them.
        pairs: how many random pairs of different rows are drawn for anisotropy, uniformity and angles.
        seed: of both draws.

    Raises `Degenerate` if fewer than two rows are non-zero, ValueError if both rows and columns exceed 8,192.
    """
    (found,) = describe_cuts(x, [x.shape[1]], rows=rows, pairs=pairs, seed=seed)
    if same is None or not len(same[0]):
        return found
    return replace(found, alignment=float((2 - 2 * cosines(x, *same)).mean()))


def describe_cuts(
    x: Floats, dims: Sequence[int], *, rows: int = 5000, pairs: int = 100_000, seed: int = 0, bins: int = BINS
) -> list[Cloud]:
    """Describe the first k columns of x (n, d) for each k of ``dims`` (ascending), without the alignment.

    All cuts share the draws, one pass over the pairs and one covariance. ``bins`` is the number of angle bins from 0 to
    180 degrees; the rest is as in `describe`. A row that is zero in the narrowest cut is left out.
    """
    if min(x.shape) > _WIDEST:
        raise ValueError(
            f"the vectors have {x.shape[1]} columns; for more than {_WIDEST} vectors at most {_WIDEST} are supported, "
            "lower expand"
        )
    kept = np.flatnonzero(x[:, : dims[0]].any(axis=1))
    n = len(kept)
    if n < 2:
        raise Degenerate(f"{n} vectors are non-zero; embedding geometry needs at least 2")
    rng = np.random.default_rng((seed, *b"cloud"))
    at = rng.integers(0, n, pairs)
    cosine = cosines_by_dim(x, kept[at], kept[(at + rng.integers(1, n, pairs)) % n], dims)
    whole = np.asarray(x[kept], np.float64)
    few = np.sort(rng.permutation(n)[:rows])
    spectra = _spectra(whole, dims)
    return [_cloud(whole[:, :k], c, s, few, bins) for k, c, s in zip(dims, cosine, spectra, strict=True)]


def _cloud(
    x: NDArray[np.float64], cosine: NDArray[np.float64], values: NDArray[np.float64], few: Ids, bins: int
) -> Cloud:
    """Describe rows (n, k) by the cosines of random pairs of them and the eigenvalues of their covariance."""
    n, d = x.shape
    unit = unit_rows(x)
    angle = np.degrees(np.arccos(cosine))
    mean_norm = float(np.linalg.norm(unit.mean(axis=0)))
    shares = np.cumsum(values) / max(float(values.sum()), 1e-300)
    return Cloud(
        n=n,
        dim=d,
        mean_norm=mean_norm,
        anisotropy=float(cosine.mean()),
        effective_rank=effective_rank(values),
        spectrum=tuple(float(shares[min(k, len(shares)) - 1]) for k in (2**p for p in range(d.bit_length())) if k <= d),
        concentration=vmf_concentration(mean_norm, d),
        uniformity=float(np.log(np.exp(-2 * (2 - 2 * cosine)).mean())),
        alignment=None,
        hubness=hubness(unit[few]),
        angles=tuple(float(c) / len(angle) for c in np.histogram(angle, bins, (0, 180))[0]),
        angle_mean=float(angle.mean()),
        angle_sd=float(angle.std()),
    )


def _spectra(x: NDArray[np.float64], dims: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return the eigenvalues, descending and at least 0, of the covariance of the first k columns of x (n, d).

    With more columns than rows, only those that can be non-zero: the eigenvalues of the centred rows' inner products.
    """
    n = len(x)
    narrow = [k for k in dims if k <= n]
    covariance = Moments.of(x[:, : narrow[-1]]).covariance if narrow else np.zeros((0, 0))
    found = []
    for k in dims:
        if k <= n:
            matrix = covariance[:k, :k]
        else:
            centred = x[:, :k] - x[:, :k].mean(axis=0)
            matrix = centred @ centred.T / (n - 1)
        found.append(np.linalg.eigvalsh(matrix)[::-1].clip(0))
    return found


def means_same(labels: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which pairs (n,) have the same meaning, for the alignment: label 1, or above 4/5 of a graded scale."""
    low, high = scale
    same: NDArray[np.bool_] = labels > low + _SAME * (high - low)
    return same


def unit_rows(x: Floats) -> NDArray[np.float64]:
    """Return the rows of x (n, d) normalised to length 1; zero rows stay zero."""
    wide = np.array(x, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    np.divide(wide, length, out=wide, where=length > 0)
    return wide


def vmf_concentration(mean_norm: float, dim: int) -> float | None:
    """Return kappa = r (d - r^2) / (1 - r^2) for a mean of length r: Banerjee et al. (JMLR 2005); None for r = 1."""
    if mean_norm >= 1 - 1e-12:
        return None
    return mean_norm * (dim - mean_norm**2) / (1 - mean_norm**2)


def hubness(unit: NDArray[np.float64], k: int = 10) -> float:
    """Return the skewness of the k-occurrence: how often each unit row (n, d) is among the k nearest of another.

    Radovanovic, Nanopoulos and Ivanovic, Hubs in space (JMLR 2010). 0 if all rows occur equally often; about 1 and more
    if a few are the neighbours of many. k is at most n - 1.
    """
    n = len(unit)
    k = min(k, n - 1)
    counts = np.zeros(n)
    for start in range(0, n, _BLOCK):
        # rounded so that equal vectors tie: rounding errors would order them differently in every run
        near = np.round(unit[start : start + _BLOCK] @ unit.T, 9)
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        counts += np.bincount(np.argpartition(near, -k, axis=1)[:, -k:].ravel(), minlength=n)
    spread = counts.std()
    return 0.0 if spread == 0 else float((((counts - counts.mean()) / spread) ** 3).mean())


def random_histogram(dim: int, bins: int = BINS) -> tuple[float, ...]:
    """Return the share (bins,) of pairs of independent uniform directions at each angle, the reference for `Cloud.angles`."""
    fine = 200  # points per bin
    angle = np.linspace(0, math.pi, bins * fine + 1)
    density = angle_density(angle, dim)
    area = (density[1:] + density[:-1]) / 2 * (angle[1] - angle[0])
    return tuple(float(a) for a in area.reshape(bins, fine).sum(axis=1))

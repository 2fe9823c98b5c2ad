"""How a cloud of vectors lies in space: its mean, its directions, its hubs; sampled and seeded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.errors import Degenerate
from hengyu.moments import Moments
from hengyu.theory import angle_density

__all__ = ["BINS", "Cloud", "describe", "hubness", "random_histogram", "unit_rows", "vmf_concentration"]

Floats = NDArray[np.floating[Any]]
BINS = 36  # of the angles, 5 degrees each
_BLOCK = 1024
_WIDEST = 8192  # columns: the spectrum takes their cube


@dataclass(frozen=True)
class Cloud:
    """What `describe` found of n vectors of ``dim`` columns.

    Attributes:
        mean_norm: the length of the mean of the vectors brought to length 1: 0 for a cloud around the origin, 1 for a point.
        anisotropy: the mean cosine of random pairs (Ethayarajh, 2019).
        effective_rank: the exponential of the entropy of the normalised eigenvalues of the covariance (Roy, Vetterli, 2007).
        spectrum: the share of the variance in the first 1, 2, 4, 8, ... principal directions.
        concentration: kappa of the von Mises-Fisher distribution (see `vmf_concentration`); None for a single point.
        uniformity: log mean exp(-2 |u - v|^2) of random pairs, lower is more uniform (Wang and Isola, ICML 2020).
        alignment: mean |u - v|^2 of the pairs that mean the same; None without any.
        hubness: the skewness of the number of vectors that have a vector among their 10 nearest (see `hubness`).
        angles: the share (BINS,) of random pairs at each angle, 0 to 180 degrees.
        angle_mean, angle_sd: of those angles, in degrees.
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
    same: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    *,
    rows: int = 5000,
    pairs: int = 100_000,
    seed: int = 0,
) -> Cloud:
    """Describe the rows of x (n, d); zero rows are left out.

    Args:
        x: the vectors.
        same: row numbers of the pairs that mean the same, for the alignment.
        rows: how many of them, drawn by ``seed``, the hubness is taken on: it is quadratic in them.
        pairs: how many random pairs of different rows are drawn for anisotropy, uniformity and angles.
        seed: of both draws.

    Raises `Degenerate` when fewer than two rows are not zero, ValueError above 8,192 columns.
    """
    if x.shape[1] > _WIDEST:
        raise ValueError(f"the vectors have {x.shape[1]} columns; a cloud is described up to {_WIDEST}, lower expand")
    unit = unit_rows(x)
    kept = np.flatnonzero(unit.any(axis=1))
    n, d = len(kept), unit.shape[1]
    if n < 2:
        raise Degenerate(f"{n} vectors are not zero; a cloud needs at least 2")
    rng = np.random.default_rng((seed, *b"cloud"))
    at = rng.integers(0, n, pairs)
    first, second = kept[at], kept[(at + rng.integers(1, n, pairs)) % n]
    cosine = np.clip(_dots(unit, first, second), -1, 1)
    angle = np.degrees(np.arccos(cosine))
    mean_norm = float(np.linalg.norm(unit[kept].mean(axis=0)))
    spectrum = Moments.of(np.asarray(x)[kept]).spectrum
    shares = np.cumsum(spectrum.values.clip(0)) / max(float(spectrum.values.clip(0).sum()), 1e-300)
    aligned = None
    if same is not None and len(same[0]):
        aligned = float((2 - 2 * _dots(unit, *same)).mean())
    return Cloud(
        n=n,
        dim=d,
        mean_norm=mean_norm,
        anisotropy=float(cosine.mean()),
        effective_rank=spectrum.effective_rank,
        spectrum=tuple(float(shares[k - 1]) for k in (2**p for p in range(d.bit_length())) if k <= d),
        concentration=vmf_concentration(mean_norm, d),
        uniformity=float(np.log(np.exp(-2 * (2 - 2 * cosine)).mean())),
        alignment=aligned,
        hubness=hubness(unit[np.sort(rng.permutation(kept)[:rows])]),
        angles=tuple(float(c) / pairs for c in np.histogram(angle, BINS, (0, 180))[0]),
        angle_mean=float(angle.mean()),
        angle_sd=float(angle.std()),
    )


def unit_rows(x: Floats) -> NDArray[np.float64]:
    """Return the rows x (n, d) at length 1; zero rows stay zero."""
    wide = np.array(x, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    np.divide(wide, length, out=wide, where=length > 0)
    return wide


def _dots(unit: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the inner products (n,) of pairs of rows, block by block."""
    out = np.empty(len(first))
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = np.einsum("nd,nd->n", unit[first[part]], unit[second[part]])
    return out


def vmf_concentration(mean_norm: float, dim: int) -> float | None:
    """Return kappa = r (d - r^2) / (1 - r^2) for a mean of length r: Banerjee et al. (JMLR 2005); None for r = 1."""
    if mean_norm >= 1 - 1e-12:
        return None
    return mean_norm * (dim - mean_norm**2) / (1 - mean_norm**2)


def hubness(unit: NDArray[np.float64], k: int = 10) -> float:
    """Return the skewness of the k-occurrence: how often each row (n, d), of length 1, is among the k nearest of another.

    Radovanovic, Nanopoulos and Ivanovic, Hubs in space (JMLR 2010). 0 where every row is as often; about 1 and above
    where a few are the neighbours of many. k is at most n - 1.
    """
    n = len(unit)
    k = min(k, n - 1)
    counts = np.zeros(n)
    for start in range(0, n, _BLOCK):
        near = unit[start : start + _BLOCK] @ unit.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        counts += np.bincount(np.argpartition(near, -k, axis=1)[:, -k:].ravel(), minlength=n)
    spread = counts.std()
    return 0.0 if spread == 0 else float((((counts - counts.mean()) / spread) ** 3).mean())


def random_histogram(dim: int) -> tuple[float, ...]:
    """Return the share (BINS,) of pairs of independent uniform directions at each angle: what `Cloud.angles` is held against."""
    fine = 200  # points a bin
    angle = np.linspace(0, math.pi, BINS * fine + 1)
    density = angle_density(angle, dim)
    area = (density[1:] + density[:-1]) / 2 * (angle[1] - angle[0])
    return tuple(float(a) for a in area.reshape(BINS, fine).sum(axis=1))

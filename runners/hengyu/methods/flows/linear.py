"""The linear flow z = A (x - mean): its likelihood depends on the rows only through mean and covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample

__all__ = ["LinearFlow", "climb", "gaussian_bits", "moments_of"]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

_DONE = 1e-12  # largest entry of I - A S A^T at which the gradient counts as 0


@dataclass(frozen=True)
class LinearFlow:
    """A trained map: A (d, d), log|det A|, and the bits per dimension after each step."""

    matrix: Floats
    log_det: float
    bits: list[float]


def climb(covariance: Floats, steps: int, by: Literal["full", "exp"]) -> LinearFlow:
    """Maximise the likelihood of z = A (x - mean) under a standard normal, for rows of a covariance S (d, d).

    Per row, -log p = tr(A S A^T)/2 - log|det A| + d log(2 pi)/2. Its relative gradient, that of B in A -> (I + B) A at
    B = 0, is A S A^T - I (Cardoso and Laheld 1996), so the steepest ascent with rate 1/2 is

        full:  A <- (I + B) A,   B = (I - A S A^T) / 2,   log-determinant from an LU decomposition;
        exp:   A <- exp(B) A,    log|det exp(B)| = tr B, so no determinant is ever computed.

    Started at A = I / sqrt(largest eigenvalue), the eigenvalues of A S A^T rise to 1 without crossing it, quadratically
    at the end, and a small one by a factor of e (exp) or 9/4 (full) per step, so about log(condition) steps always
    suffice. The optimum is A S A^T = I: whitening, up to a rotation.
    """
    from scipy.linalg import eigvalsh, expm

    d = len(covariance)
    eye = np.eye(d)
    top = float(eigvalsh(covariance, subset_by_index=[d - 1, d - 1])[0])
    matrix = eye / math.sqrt(top)
    log_det = -0.5 * d * math.log(top)
    image = covariance / top
    bits = [_bits(image, log_det)]
    for _ in range(steps):
        rest = eye - image
        if np.abs(rest).max() < _DONE:
            break
        step = rest / 2
        if by == "exp":
            log_det += float(np.trace(step))
            matrix = expm(step) @ matrix
        else:
            matrix = matrix + step @ matrix
            log_det = float(np.linalg.slogdet(matrix)[1])
        image = matrix @ covariance @ matrix.T
        image = (image + image.T) / 2
        now = _bits(image, log_det)
        if now > bits[-1] - 1e-14:  # only rounding is left
            bits.append(now)
            break
        bits.append(now)
    return LinearFlow(matrix, log_det, bits)


def _bits(image: Floats, log_det: float) -> float:
    d = len(image)
    return (0.5 * float(np.trace(image)) - log_det + 0.5 * d * math.log(2 * math.pi)) / (d * math.log(2))


def gaussian_bits(sample: Sample, fit_ids: Ids, held_ids: Ids, columns: Ids) -> float:
    """Return the bits per dimension of held-out rows under the Gaussian fitted to the others.

    The best linear flow, whitening, reaches it; a nonlinear flow must beat it to have learned more.
    """
    fitted = moments_of(sample, fit_ids, columns)
    held = np.asarray(sample.rows(held_ids)[:, columns], dtype=np.float64) - fitted.mean
    lower = np.linalg.cholesky(fitted.covariance)
    z = np.linalg.solve(lower, held.T).T
    log_det = -float(np.log(np.diagonal(lower)).sum())
    d = len(columns)
    return (0.5 * float((z**2).sum(axis=1).mean()) - log_det + 0.5 * d * math.log(2 * math.pi)) / (d * math.log(2))


def moments_of(sample: Sample, ids: Ids, columns: Ids) -> Moments:
    """Return the moments of some columns of some rows."""
    part = Sample(lambda at: sample.rows(ids[at])[:, columns], sample.counts[ids])
    return Moments.of(part)

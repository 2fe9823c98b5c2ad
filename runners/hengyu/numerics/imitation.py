"""What a student imitates: the teacher's vectors, centred, turned to the student's width, with length 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Space", "fit_space", "ridge", "turned"]

_RIDGE = 1e-3  # of the mean variance

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """The affine map from the teacher's vectors to the targets, before they get length 1."""

    mean: Vectors  # (d,), of the teacher's vectors
    axes: Vectors  # (d, k), orthonormal columns
    kept: float  # share of the teacher's variance that the axes keep

    def __call__(self, x: Vectors) -> Vectors:
        """Return the targets (n, k) of the teacher's vectors (n, d)."""
        y = (x - self.mean) @ self.axes
        found: Vectors = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-9)
        return found


def fit_space(x: Vectors, width: int) -> Space:
    """Return the mean and the ``width`` principal axes of vectors (n, d).

    A student wider than the teacher gets the teacher's own axes; the further columns of its targets are 0.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    variance, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    most = vectors[:, ::-1][:, :width]
    kept = float(variance[::-1][:width].sum() / max(variance.sum(), 1e-30))
    axes = np.zeros((x.shape[1], width), np.float32)
    axes[:, : most.shape[1]] = most
    return Space(mean.astype(np.float32), axes, kept)


def turned(space: Space, targets: Vectors, student: Vectors) -> Space:
    """Return the space turned so that targets (n, k) come as close as they can to a student's centred vectors (n, k).

    Cosines do not change under a rotation (orthogonal Procrustes: Schönemann, Psychometrika 31, 1966).
    """
    centred = student.astype(np.float64) - student.mean(axis=0, dtype=np.float64)
    left, _, right = np.linalg.svd(targets.T.astype(np.float64) @ centred)
    return Space(space.mean, (space.axes.astype(np.float64) @ left @ right).astype(np.float32), space.kept)


def ridge(x: Vectors, y: Vectors) -> tuple[Vectors, Vectors]:
    """Return weights (k, d) and bias (k,) of the ridge regression of y (n, k) on x (n, d)."""
    mean, centre = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    centred = x - mean
    square = centred.T @ centred
    square += _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    weight = np.linalg.solve(square, centred.T @ (y - centre))
    return weight.T.astype(np.float32), (centre - mean @ weight).astype(np.float32)

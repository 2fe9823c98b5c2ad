"""Norms and angles of vectors on their way through random layers: theory, and a simulation with normal and orthogonal matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "MATRICES", "MOST", "Depth", "angle_after", "norm_spread", "simulate"]

MOST = 10**10
"""The largest width x layers x networks of a simulation: minutes at most."""

ACTIVATIONS = ("linear", "relu")
MATRICES = ("normal", "orthogonal")
Floats = NDArray[np.float64]


def angle_after(angle: float, activation: str) -> float:
    """Return the angle (radians) of two vectors after one layer of infinite width, from that before.

    A linear layer with independent entries, or an orthogonal one, keeps it. ReLU after a normal matrix makes cos angle to
    (sin a + (pi - a) cos a) / pi (Cho and Saul, 2009), which draws all directions together.

    Raises:
        ValueError: for another activation.
    """
    if activation == "linear":
        return angle
    if activation == "relu":
        return math.acos(min(1.0, (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi))
    raise ValueError(f"activation {activation} is not one of {', '.join(ACTIVATIONS)}")


def norm_spread(width: int, layers: int) -> tuple[float, float]:
    """Return mean and standard deviation of log |y| - log |x| after linear layers of normal matrices with variance 1/width.

    Every layer multiplies the squared norm by an independent chi-square of ``width`` degrees, divided by them. Orthogonal
    matrices give 0 and 0.
    """
    from scipy.special import polygamma, psi

    mean = float(psi(width / 2)) + math.log(2 / width)
    return layers * mean / 2, math.sqrt(layers * float(polygamma(1, width / 2))) / 2


@dataclass(frozen=True)
class Depth:
    """What a simulation saw of pairs of vectors after 0, 1, ... layers, over independent networks.

    Networks in which ReLU made one of the two vectors 0 have no angle there, and are left out everywhere.

    Attributes:
        networks: how many are left.
        norm: mean of |y| / |x|, (layers + 1,).
        norm_sd: its standard deviation.
        angle: mean angle of a pair in radians.
        angle_sd: its standard deviation.
    """

    networks: int
    norm: Floats
    norm_sd: Floats
    angle: Floats
    angle_sd: Floats


def simulate(
    width: int, layers: int, matrices: str, activation: str, *, angle: float, networks: int = 1000, seed: int = 0
) -> Depth:
    """Pass a pair of unit vectors at an angle (radians) through ``networks`` random networks.

    A layer multiplies by a square matrix, "normal" with variance 1/width or "orthogonal", and applies the activation; ReLU's
    output is multiplied by sqrt(2), so that it keeps the mean squared norm. Only what a matrix makes of the two vectors is drawn:
    with an orthonormal basis B (width, 2) of them, W B has independent normal entries, or two random orthonormal columns.

    Raises:
        ValueError: for unknown matrices or activation, fewer than 2 dimensions, 1 layer or 2 networks, more than `MOST` numbers,
            and where fewer than 2 networks are left.
    """
    if matrices not in MATRICES or activation not in ACTIVATIONS:
        raise ValueError(f"{matrices}, {activation}: use {' or '.join(MATRICES)}, and {' or '.join(ACTIVATIONS)}")
    if width < 2 or layers < 1 or networks < 2:
        raise ValueError(f"width {width}, layers {layers}, networks {networks}: at least 2, 1 and 2 are needed")
    if width * layers * networks > MOST:
        raise ValueError(f"width {width} x layers {layers} x networks {networks} exceeds {MOST:,}; lower one of them")
    norms, angles = np.full((2, networks, layers + 1), np.nan)
    for number in range(networks):
        rng = np.random.default_rng([seed, number])
        coordinates = np.array([[1.0, math.cos(angle)], [0.0, math.sin(angle)]])  # of the pair, in its basis
        for at in range(layers + 1):
            norms[number, at] = coordinates[0, 0]
            angles[number, at] = math.atan2(coordinates[1, 1], coordinates[0, 1])
            if at == layers:
                break
            drawn = rng.standard_normal((2, width))
            basis = _basis(drawn)[0] if matrices == "orthogonal" else drawn / math.sqrt(width)
            pair = coordinates.T @ basis
            if activation == "relu":
                pair = math.sqrt(2) * np.maximum(pair, 0)
            if not pair.any(axis=1).all():
                break
            coordinates = _basis(pair)[1]
    alive = ~np.isnan(angles[:, -1])
    left = int(alive.sum())
    if left < 2:
        raise ValueError(
            f"in {networks - left:,} of {networks:,} networks of width {width} a vector became 0 within {layers} layers; use a "
            "larger width or fewer layers"
        )
    norms, angles = norms[alive], angles[alive]
    return Depth(left, norms.mean(0), norms.std(0, ddof=1), angles.mean(0), angles.std(0, ddof=1))


def _basis(pair: Floats) -> tuple[Floats, Floats]:
    """Return an orthonormal basis (2, n) of two vectors (2, n), and their coordinates (2, 2) in it, as columns."""
    first = math.sqrt(pair[0] @ pair[0])
    one = pair[0] / first
    along = float(one @ pair[1])
    rest = pair[1] - along * one
    across = math.sqrt(rest @ rest)
    return np.stack([one, rest / across if across else rest]), np.array([[first, along], [0.0, across]])

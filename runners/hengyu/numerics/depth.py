"""Norms and angles of vectors on their way through random layers: theory, and a simulation with normal and orthogonal matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "MATRICES", "Depth", "angle_after", "norm_spread", "simulate"]

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

    Attributes:
        norm: mean of |y| / |x|, (layers + 1,).
        norm_sd: its standard deviation.
        angle: mean angle of a pair in radians.
        angle_sd: its standard deviation.
    """

    norm: Floats
    norm_sd: Floats
    angle: Floats
    angle_sd: Floats


def simulate(
    width: int, layers: int, matrices: str, activation: str, *, angle: float, networks: int = 20, seed: int = 0
) -> Depth:
    """Pass a pair of unit vectors at an angle (radians) through ``networks`` random networks.

    A layer multiplies by a square matrix, "normal" with variance 1/width or "orthogonal", and applies the activation; ReLU's
    output is multiplied by sqrt(2), so that it keeps the mean squared norm.

    Raises:
        ValueError: for unknown matrices or activation, or fewer than 2 dimensions, 1 layer or 2 networks.
    """
    if matrices not in MATRICES or activation not in ACTIVATIONS:
        raise ValueError(f"{matrices}, {activation}: use {' or '.join(MATRICES)}, and {' or '.join(ACTIVATIONS)}")
    if width < 2 or layers < 1 or networks < 2:
        raise ValueError(f"width {width}, layers {layers}, networks {networks}: at least 2, 1 and 2 are needed")
    norms, angles = np.empty((2, networks, layers + 1))
    for number in range(networks):
        rng = np.random.default_rng([seed, number])
        first = rng.standard_normal((width, 2))
        basis = np.linalg.qr(first)[0]
        pair = np.stack([basis[:, 0], math.cos(angle) * basis[:, 0] + math.sin(angle) * basis[:, 1]], axis=1)
        for at in range(layers + 1):
            lengths = np.linalg.norm(pair, axis=0)
            norms[number, at] = lengths[0]
            angles[number, at] = math.acos(float(np.clip(pair[:, 0] @ pair[:, 1] / lengths.prod(), -1, 1)))
            if at < layers:
                drawn = rng.standard_normal((width, width))
                if matrices == "orthogonal":
                    q, r = np.linalg.qr(drawn)
                    weight = q * np.sign(np.diag(r))  # uniform over all orthogonal matrices
                else:
                    weight = drawn / math.sqrt(width)
                pair = weight @ pair
                if activation == "relu":
                    pair = math.sqrt(2) * np.maximum(pair, 0)
    return Depth(norms.mean(0), norms.std(0, ddof=1), angles.mean(0), angles.std(0, ddof=1))

"""How Gaussian the output of a flow is, which is what a flow is trained for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gaussianity"]


def gaussianity(z: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Compare rows z (n, d) with a standard normal, for which all figures are 0 up to sampling.

    kurtosis: mean over the channels of the marginal excess kurtosis; kurtosis_worst: the one farthest from 0.
    chi2_distance: Kolmogorov-Smirnov distance in [0, 1] of ||z||^2 from the chi-squared law with d degrees of freedom.
    norm2_ratio: mean of ||z||^2 / d, minus 1.
    """
    from scipy.stats import chi2

    z = np.asarray(z, dtype=np.float64)
    n, d = z.shape
    centred = z - z.mean(axis=0)
    variance = np.maximum((centred**2).mean(axis=0), np.finfo(np.float64).tiny)
    excess = (centred**4).mean(axis=0) / variance**2 - 3.0
    squares = np.sort((z**2).sum(axis=1))
    law = chi2.cdf(squares, d)
    steps = np.arange(n + 1) / n
    distance = max(float(np.max(steps[1:] - law)), float(np.max(law - steps[:-1])))
    return {
        "kurtosis": round(float(excess.mean()), 4),
        "kurtosis_worst": round(float(excess[np.abs(excess).argmax()]), 4),
        "chi2_distance": round(distance, 4),
        "norm2_ratio": round(float(squares.mean() / d - 1.0), 4),
    }

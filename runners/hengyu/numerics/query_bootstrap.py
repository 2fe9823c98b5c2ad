"""Means over queries under resamples: queries connected by relevance are drawn together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.resampling import Resamples

__all__ = ["group_sums", "mean_replicates", "resamples_of"]

Floats = NDArray[np.float64]


def group_sums(values: Floats, groups: NDArray[np.int64]) -> Floats:
    """Return the sums (G,) of values (Q,) over the groups (Q,) of their queries."""
    return np.bincount(groups, weights=values).astype(np.float64)


def resamples_of(groups: int, resamples: int, seed: int, key: str) -> Resamples:
    """Return the resamples of so many groups of a task's queries: each draws G groups of G."""
    return Resamples(np.arange(groups), resamples, seed=seed, key=key)


def mean_replicates(sums: Floats, sizes: Floats, resamples: int, seed: int, key: str) -> Floats:
    """Return means over queries (m, resamples), of the sums (G, m) and numbers (G,) of each group of queries.

    A resample draws G groups of G; the mean is over the queries that these hold. NaN with fewer than two groups.
    """
    if len(sizes) < 2:
        return np.full((sums.shape[1], resamples), np.nan)
    draws = resamples_of(len(sizes), resamples, seed, key)
    parts = []
    for block in range(-(-resamples // 64)):
        weights = draws.weights(block).astype(np.float64)
        parts.append((sums.T @ weights) / (sizes @ weights))
    return np.hstack(parts)[:, :resamples]

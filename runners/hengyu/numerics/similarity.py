"""Cosines of pairs of vectors in float64, for one dimension or for many in one cumulative pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cosines", "cosines_by_dim"]

Rows = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
_TILE = 64  # pairs
_ONE = 1.0 - 1e-12  # equal vectors must tie: rounding of their cosine of 1 must not order them


def cosines(x: Floats, first: Rows, second: Rows) -> NDArray[np.float64]:
    """Return the cosine (n,) of rows ``first`` and ``second`` (n,) of x (m, d); 0 for zero vectors."""
    every = cosines_by_dim(x, first, second, [x.shape[1]])
    return every.reshape(-1)


def cosines_by_dim(x: Floats, first: Rows, second: Rows, dims: Sequence[int]) -> NDArray[np.float64]:
    """Return the cosines (K, n) of pairs of rows, cut to their first k columns for each k of ``dims`` (K,), ascending.

    One pass serves all k: cos_k = cumsum(a b)_k / sqrt(cumsum(a a)_k cumsum(b b)_k). A pair of the same row has cosine 1
    exactly; a vector that is zero in its first k columns has cosine 0.
    """
    cuts = np.asarray(dims, dtype=np.int64)
    if len(cuts) == 0 or cuts[0] < 1 or cuts[-1] > x.shape[1] or (np.diff(cuts) <= 0).any():
        raise ValueError(f"dims {list(dims)} must be ascending within 1..{x.shape[1]}")
    out = np.empty((len(cuts), len(first)))
    # sign and winner codes are int8 and stay so: they may have thousands of columns
    kept = x.dtype if x.dtype in (np.float64, np.int8) else np.dtype(np.float32)
    wide = np.ascontiguousarray(x, dtype=kept)
    _kernel()(wide, np.asarray(first, np.int64), np.asarray(second, np.int64), cuts, out)
    return out


@cache
def _kernel() -> Callable[..., None]:
    import numba

    # cache=False: numba's on-disk cache is a pickle, and no pickle is read or written here
    @numba.njit(nogil=True, cache=False, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
    def kernel(x: Any, first: Any, second: Any, cuts: Any, out: Any) -> None:
        # a tile of pairs is filled by pair and copied out by dimension, so that both stay in cache
        tile = np.empty((_TILE, len(cuts)))
        for begin in range(0, len(first), _TILE):
            end = min(begin + _TILE, len(first))
            for row in range(begin, end):
                a = x[first[row]]
                b = x[second[row]]
                same = first[row] == second[row]
                dot = 0.0
                left = 0.0
                right = 0.0
                start = 0
                for at in range(len(cuts)):
                    stop = cuts[at]
                    for k in range(start, stop):
                        p = np.float64(a[k])
                        q = np.float64(b[k])
                        dot += p * q
                        left += p * p
                        right += q * q
                    start = stop
                    value = 0.0
                    if left > 0.0 and right > 0.0:
                        value = 1.0 if same else dot / np.sqrt(left * right)
                    if abs(value) > _ONE:
                        value = 1.0 if value > 0.0 else -1.0
                    tile[row - begin, at] = value
            for at in range(len(cuts)):
                for row in range(begin, end):
                    out[at, row] = tile[row - begin, at]

    compiled: Callable[..., None] = kernel
    return compiled

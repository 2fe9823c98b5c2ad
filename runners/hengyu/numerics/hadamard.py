"""The fast Walsh-Hadamard transform (d log2 d additions per row; a matrix product takes d^2), and SRHT on top of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["next_power_of_two", "srht", "walsh_hadamard"]

Floats = NDArray[np.floating[Any]]


def next_power_of_two(d: int) -> int:
    """Return the smallest power of two that is at least d (d >= 1)."""
    return 1 << (d - 1).bit_length()


def walsh_hadamard(x: Floats) -> Floats:
    """Return H x for the rows x (n, p): H is Sylvester's matrix of order p, unnormalised, so that H H = p I.

    Raises ValueError if p is not a power of two.
    """
    p = x.shape[1]
    if p < 1 or p & (p - 1):
        raise ValueError(f"the number of columns of a Walsh-Hadamard transform must be a power of two, not {p}")
    return srht(x, np.ones(p), np.arange(p), 1.0)


def srht(x: Floats, signs: Floats, kept: NDArray[np.integer[Any]], scale: float) -> Floats:
    """Return ``scale`` (H D x)[kept] (n, len(kept)) of the rows x (n, d), padded with zeros to p columns.

    Args:
        x: float32 or float64; the result has the same type.
        signs: the diagonal of D (p,), 1 or -1; p is a power of two and at least d.
        kept: which of the p outputs are returned.
        scale: their factor.
    """
    wide = np.ascontiguousarray(x, dtype=np.float64 if x.dtype == np.float64 else np.float32)
    out = np.empty((len(wide), len(kept)), wide.dtype)
    _kernel()(wide, np.asarray(signs, wide.dtype), np.asarray(kept, np.int64), wide.dtype.type(scale), out)
    return out


@cache
def _kernel() -> Callable[..., None]:
    import numba

    # cache=False: numba's on-disk cache is a pickle, and no pickle is read or written here
    @numba.njit(nogil=True, cache=False, fastmath={"contract"})  # type: ignore[untyped-decorator]
    def kernel(x: Any, signs: Any, kept: Any, scale: Any, out: Any) -> None:
        p = len(signs)
        d = x.shape[1]
        row = np.empty(p, x.dtype)  # one row at a time stays in the L1 cache
        for i in range(x.shape[0]):
            for k in range(d):
                row[k] = x[i, k] * signs[k]
            for k in range(d, p):
                row[k] = 0.0
            half = 1
            if p >= 4:  # two stages at once while the strides are small
                for k in range(0, p, 4):
                    a, b, c, e = row[k], row[k + 1], row[k + 2], row[k + 3]
                    row[k] = (a + b) + (c + e)
                    row[k + 1] = (a - b) + (c - e)
                    row[k + 2] = (a + b) - (c + e)
                    row[k + 3] = (a - b) - (c - e)
                half = 4
            while half < p:
                for start in range(0, p, 2 * half):
                    low = row[start : start + half]
                    high = row[start + half : start + 2 * half]
                    for k in range(half):
                        a = low[k]
                        b = high[k]
                        low[k] = a + b
                        high[k] = a - b
                half *= 2
            for k in range(len(kept)):
                out[i, k] = row[kept[k]] * scale

    compiled: Callable[..., None] = kernel
    return compiled

"""Cosines of pairs of vectors in float64, for one dimension or for many in one cumulative pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.compiled import compiled

__all__ = ["cosines", "cosines_by_dim"]

Rows = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
_TILE = 256  # pairs whose vectors fit into the processor's cache
_TILE_OF_ALL = 64  # the same where there is a cosine for every dimension
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
    one, other = np.asarray(first, np.int64), np.asarray(second, np.int64)
    if len(cuts) == cuts[-1] > 1:
        _every_dim(wide, one, other, out)
    else:
        _some_dims(wide, one, other, cuts, out)
    return out


def _some_dims(x: Floats, first: Rows, second: Rows, cuts: NDArray[np.int64], out: NDArray[np.float64]) -> None:
    """Fill out (K, n): the columns between two cuts are summed at once, then added to those before."""
    starts = [0, *cuts[:-1].tolist()]
    for begin in range(0, len(first), _TILE):
        i, j = first[begin : begin + _TILE], second[begin : begin + _TILE]
        a, b = x[i, : cuts[-1]].astype(np.float64), x[j, : cuts[-1]].astype(np.float64)
        sums = np.empty((3, len(cuts), len(i)))
        for k, (start, stop) in enumerate(zip(starts, cuts.tolist(), strict=True)):
            p, q = a[:, start:stop], b[:, start:stop]
            for total, (left, right) in zip(sums, ((p, q), (p, p), (q, q)), strict=True):
                np.einsum("nd,nd->n", left, right, out=total[k])
        out[:, begin : begin + _TILE] = _quotients(np.cumsum(sums, axis=1), i == j)


def _quotients(sums: Iterable[Floats], same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the cosines (K, n) of products and both squared lengths, (K, n) each."""
    dot, left, right = sums
    whole = (left > 0.0) & (right > 0.0)
    value = np.divide(dot, np.sqrt(left * right), out=np.zeros_like(dot), where=whole)
    value[whole & same] = 1.0
    value[value > _ONE] = 1.0
    value[value < -_ONE] = -1.0
    found: NDArray[np.float64] = value
    return found


def _every_dim_numpy(x: Floats, first: Rows, second: Rows, out: NDArray[np.float64]) -> None:
    """Do what `_every_dim` does, a tile of pairs at a time."""
    d = len(out)
    for begin in range(0, len(first), _TILE_OF_ALL):
        i, j = first[begin : begin + _TILE_OF_ALL], second[begin : begin + _TILE_OF_ALL]
        a, b = x[i, :d].astype(np.float64), x[j, :d].astype(np.float64)
        sums = [np.cumsum(z, axis=1).T for z in (a * b, a * a, b * b)]
        out[:, begin : begin + _TILE_OF_ALL] = _quotients(sums, i == j)


@compiled("", _every_dim_numpy)
def _every_dim(x: Floats, first: Rows, second: Rows, out: NDArray[np.float64]) -> None:
    """Fill out (d, n) with the cosine of every pair in its first 1, 2, ..., d columns."""
    # a tile of pairs is filled by pair and copied out by dimension, so that both stay in cache
    tile = np.empty((_TILE_OF_ALL, len(out)))
    for begin in range(0, len(first), _TILE_OF_ALL):
        end = min(begin + _TILE_OF_ALL, len(first))
        for row in range(begin, end):
            a = x[first[row]]
            b = x[second[row]]
            same = first[row] == second[row]
            dot = 0.0
            left = 0.0
            right = 0.0
            for k in range(len(out)):
                p = np.float64(a[k])
                q = np.float64(b[k])
                dot += p * q
                left += p * p
                right += q * q
                value = 0.0
                if left > 0.0 and right > 0.0:
                    value = 1.0 if same else dot / np.sqrt(left * right)
                if abs(value) > _ONE:
                    value = 1.0 if value > 0.0 else -1.0
                tile[row - begin, k] = value
        for k in range(len(out)):
            for row in range(begin, end):
                out[k, row] = tile[row - begin, k]

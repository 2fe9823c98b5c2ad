"""Exact search in blocks, in float64, with ties: the ground truth for the results of an index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids
from hengyu.numerics.sample import Sample

__all__ = ["Exact", "exact_search"]

_SPARE = 16
_QUERIES = 128  # queries whose candidates are scored at once
_DIGITS = 9  # rounding to these makes equal vectors tie
_SINGLE = 1e-5  # more than the error of float32 sums of unit vectors
_SAME = 1e-6  # an index that sums in float32 cannot distinguish smaller differences


@dataclass(frozen=True)
class Exact:
    """The nearest rows of every query, without itself: ids and inner products (Q, K), best first, ties by number."""

    rows: Sample
    queries: NDArray[np.float32]
    ids: Ids
    scores: NDArray[np.float64]

    def ranks(self, found: Ids) -> NDArray[np.uint8]:
        """Return the rank of results (Q, k) in exact search, from 1, ties sharing the best rank; 0 beyond the K nearest.

        Rows within 1e-6 of each other tie.
        """
        out = np.zeros(found.shape, np.uint8)
        deep = self.ids.shape[1]
        for start in range(0, len(found), _QUERIES):
            at = slice(start, start + _QUERIES)
            scores = _score(self.rows, self.queries[at], found[at])
            for i, (mine, truth) in enumerate(zip(scores, self.scores[at], strict=True)):
                rank = 1 + np.searchsorted(-truth, -mine - _SAME, side="left")
                out[start + i] = np.where((found[start + i] >= 0) & (rank <= deep), rank, 0)
        return out


def exact_search(rows: Sample, queries: Floats, own: Ids, k: int, block: int = 16384) -> Exact:
    """Return the k rows (n, d) nearest to each query (Q, d) by inner product, without its ``own`` row (Q,; -1 for none).

    At most ``block`` rows are in memory besides the candidates. float32 products choose the candidates, and float64 products,
    rounded to 9 digits, order them; if candidates tie beyond the last place, the query's products with all rows decide.
    k is at most 255, and less than n if a row is left out.
    """
    import faiss

    q = np.ascontiguousarray(queries, np.float32)
    n = len(rows)
    most = min(n - int((own >= 0).any()), 255)
    if not 1 <= k <= most:
        raise ValueError(f"k={k} must lie in 1..{most}")
    wide = min(k + 1 + _SPARE, n)
    ids = np.zeros((len(q), 0), np.int64)
    near = np.zeros((len(q), 0), np.float32)
    start = 0
    for part, _ in rows.blocks(block):
        x = np.ascontiguousarray(part, np.float32)
        nearest, at = faiss.knn(q, x, min(wide, len(x)), metric=faiss.METRIC_INNER_PRODUCT)
        ids, near = np.hstack([ids, at + start]), np.hstack([near, nearest])
        keep = np.argsort(-near, axis=1, kind="stable")[:, :wide]
        ids, near = np.take_along_axis(ids, keep, axis=1), np.take_along_axis(near, keep, axis=1)
        start += len(x)
    out_ids = np.empty((len(q), k), np.int64)
    out = np.empty((len(q), k))
    for start in range(0, len(q), _QUERIES):
        here = slice(start, start + _QUERIES)
        scores = _score(rows, q[here], ids[here])
        scores[ids[here] == own[here, None]] = -np.inf
        order = np.lexsort((ids[here], -scores), axis=1)[:, :k]
        out_ids[here] = np.take_along_axis(ids[here], order, axis=1)
        out[here] = np.take_along_axis(scores, order, axis=1)
    if wide < n:
        open_ = np.flatnonzero(near[:, -1] + _SINGLE >= out[:, -1])
        out_ids[open_], out[open_] = _scan(rows, q[open_], own[open_], k, block)
    return Exact(rows, q, out_ids, out)


def _score(rows: Sample, queries: NDArray[np.float32], ids: Ids) -> NDArray[np.float64]:
    """Return the products (Q, k) of queries (Q, d) with rows given by number (Q, k)."""
    distinct, place = np.unique(np.maximum(ids, 0), return_inverse=True)
    x = np.asarray(rows.rows(distinct), np.float32)
    out = np.empty(ids.shape)
    for i, at in enumerate(place.reshape(ids.shape)):
        out[i] = _products(x[at], queries[i])
    return out


def _scan(rows: Sample, queries: NDArray[np.float32], own: Ids, k: int, block: int) -> tuple[Ids, NDArray[np.float64]]:
    """Return the k best rows (U, k) of queries (U, d) and their products, from the products with all rows, read once."""
    ids = np.zeros((len(queries), k), np.int64)
    best = np.full((len(queries), k), -np.inf)
    if not len(queries):
        return ids, best
    start = 0
    for part, _ in rows.blocks(block):
        x = np.asarray(part, np.float64)
        for first in range(0, len(queries), _QUERIES):
            at = slice(first, first + _QUERIES)
            products = np.round(queries[at].astype(np.float64) @ x.T, _DIGITS) + 0.0
            here = np.flatnonzero((own[at] >= start) & (own[at] < start + len(x)))
            products[here, own[at][here] - start] = -np.inf
            for i, mine in enumerate(products, first):
                # rows come in order, so one that ties with the last of the k best does not come before it
                new = np.flatnonzero(mine > best[i, -1])
                if not len(new):
                    continue
                every = np.concatenate([best[i], mine[new]])
                order = np.argsort(-every, kind="stable")[:k]
                ids[i], best[i] = np.concatenate([ids[i], new + start])[order], every[order]
        start += len(x)
    return ids, best


def _products(x: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    products = x.astype(np.float64) @ query.astype(np.float64)
    return np.asarray(np.round(products, _DIGITS) + 0.0)

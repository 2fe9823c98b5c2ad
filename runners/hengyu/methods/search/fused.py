"""Ranked lists joined: every entry of a fusion is asked, the query's own row is left out, and the lists are fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Fusion, Ids, Searcher

__all__ = ["FusedSearch", "JoinedQueries", "best_sums", "drop_own", "top"]


@dataclass(frozen=True)
class JoinedQueries:
    """Queries as each entry of a fusion takes them, and the row (Q,) that each of them is itself; -1 for none."""

    parts: tuple[Any, ...]
    own: Ids

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.own)

    def __getitem__(self, at: slice) -> JoinedQueries:
        """Return some of the queries."""
        return JoinedQueries(tuple(part[at] for part in self.parts), self.own[at])


@dataclass(frozen=True)
class FusedSearch:
    """A fusion over what its entries search.

    Attributes:
        method: how lists become one.
        parts: what the entries search, built.
        n: the number of rows searched.
    """

    method: Fusion
    parts: Sequence[Searcher | FusedSearch]
    n: int

    def search(self, q: JoinedQueries, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k), best first, ties by number, without the queries' own rows."""
        spare = int((q.own >= 0).any())
        deep = min(self.method.depth + spare, self.n)
        lists = []
        for part, asked in zip(self.parts, q.parts, strict=True):
            ids, scores = part.search(asked, deep)
            lists.append(drop_own(ids, scores, q.own) if spare else (ids, scores))
        return self.method.fuse(lists, k)

    @property
    def costly(self) -> bool:
        """Whether a query of any of them takes so long that it is asked once."""
        return any(part.costly for part in self.parts)

    @property
    def calls_per_query(self) -> float:
        """How often cross-encoders are called for a query."""
        return sum(part.calls_per_query for part in self.parts)

    def size(self) -> int:
        """Return the size of all indexes in bytes."""
        return sum(part.size() for part in self.parts)

    def vector_size(self) -> float:
        """Return the bytes that one more row adds to all indexes."""
        return sum(part.vector_size() for part in self.parts)


def drop_own(ids: Ids, scores: NDArray[np.float32], own: Ids) -> tuple[Ids, NDArray[np.float32]]:
    """Return lists (Q, k + 1) without each query's own row (Q,), or without the last place where it is not among them."""
    keep = (ids != own[:, None]) | (own < 0)[:, None]
    keep[keep.all(axis=1), -1] = False
    return ids[keep].reshape(len(ids), -1), scores[keep].reshape(len(ids), -1)


def best_sums(
    lists: Sequence[tuple[Ids, NDArray[np.float64]]], missing: Sequence[NDArray[np.float64]], k: int
) -> tuple[Ids, NDArray[np.float32]]:
    """Return the k rows with the highest sum of values over lists, best first, ties by number.

    Args:
        lists: row numbers (Q, depth), -1 for none, and the value of each.
        missing: what a row adds (Q,) that a list does not have, list by list.
        k: how many.
    """
    out_ids = np.full((len(lists[0][0]), k), -1, np.int64)
    out = np.full(out_ids.shape, -np.inf, np.float32)
    n = 1 + max((int(ids.max(initial=-1)) for ids, _ in lists), default=-1)
    sums, seen = np.zeros(n), np.zeros(n, bool)  # by row: a table instead of sorting the rows of every query
    for query in range(len(out_ids)):
        found = [ids[query][ids[query] >= 0] for ids, _ in lists]
        new = []
        for rows in found:
            new.append(rows[~seen[rows]])
            seen[rows] = True
        distinct = np.concatenate(new)
        sums[distinct] = sum(float(lacks[query]) for lacks in missing)
        for rows, (ids, values), lacks in zip(found, lists, missing, strict=True):
            sums[rows] += values[query][ids[query] >= 0] - lacks[query]
        best, scores = top(distinct, sums[distinct], k, 12)
        out_ids[query, : len(best)], out[query, : len(best)] = best, scores
        seen[distinct] = False
    return out_ids, out


def top(
    ids: NDArray[np.integer[Any]], scores: NDArray[np.float64], k: int, digits: int
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float64]]:
    """Return the k best of rows (n,) and their scores (n,), rounded to ``digits``, best first, ties by number."""
    if k < len(scores):
        near = (
            scores >= np.partition(scores, -k)[-k] - 2 * 10.0**-digits
        )  # rounding moves two scores by so much at most
        ids, scores = ids[near], scores[near]
    scores = np.round(scores, digits)
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]

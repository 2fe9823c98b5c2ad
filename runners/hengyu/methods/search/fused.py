"""Ranked lists joined: every entry of a fusion is asked, the query's own row is left out, and the lists are fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Fusion, Ids, Searcher

__all__ = ["FusedSearch", "JoinedQueries", "best_sums", "drop_own"]


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
    for query in range(len(out_ids)):
        rows = [ids[query][ids[query] >= 0] for ids, _ in lists]
        values = [value[query][ids[query] >= 0] for ids, value in lists]
        distinct, place = np.unique(np.concatenate(rows), return_inverse=True)
        sums = np.full(len(distinct), float(sum(m[query] for m in missing)))
        places = np.split(place, np.cumsum([len(r) for r in rows])[:-1])
        for at, value, lacks in zip(places, values, missing, strict=True):
            sums[at] += value - lacks[query]
        sums = np.round(sums, 12)
        best = np.argsort(-sums, kind="stable")[:k]
        out_ids[query, : len(best)], out[query, : len(best)] = distinct[best], sums[best]
    return out_ids, out

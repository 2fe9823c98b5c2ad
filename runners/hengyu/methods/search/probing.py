"""Compiled multi-probe search: the buckets to probe for a query, and the nearest vectors in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["probe"]


@cache
def probe() -> Callable[..., None]:
    """Return the compiled search of a batch of queries.

    Its arguments: vectors (n, d) and queries (Q, d), float32; margins (Q, T, b), the queries' products with the
    directions; orders (Q, T, b), the bits by the size of their margins; offsets (T, 2^b + 1) and members (T, n) of the
    buckets; probes per table; seen (n,), the number of the last query that saw each row, and the number of the first query
    now; ids and scores (Q, k) to fill.
    """
    import numba
    import numpy as np

    # cache=False: numba's on-disk cache is a pickle, and no pickle is read or written here
    @numba.njit(nogil=True, cache=False, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
    def dot(a: Any, b: Any) -> Any:
        total = np.float32(0.0)
        for i in range(len(a)):
            total += a[i] * b[i]
        return total

    @numba.njit(nogil=True, cache=False)  # type: ignore[untyped-decorator]
    def plan(margins: Any, order: Any, wanted: Any, flips: Any, heap: Any, cost: Any) -> Any:
        # flips are tried in the order of their summed squared margins: a set grows by its next larger margin, or swaps
        # its largest for that (Lv et al.); every set comes up once, and never before a cheaper one
        b = len(margins)
        flips[0] = 0
        count, size = 1, 0
        if b > 0 and wanted > 1:
            heap[0], cost[0], size = 1, margins[order[0]] ** 2, 1
        while count < wanted and size > 0:
            best = 0
            for i in range(1, size):
                if cost[i] < cost[best]:
                    best = i
            chosen, value = heap[best], cost[best]
            size -= 1
            heap[best], cost[best] = heap[size], cost[size]
            mask = 0
            last = 0
            for place in range(b):
                if chosen >> place & 1:
                    mask |= 1 << order[place]
                    last = place
            flips[count] = mask
            count += 1
            if last + 1 < b:
                more = margins[order[last + 1]] ** 2
                heap[size], cost[size] = chosen | 1 << last + 1, value + more
                heap[size + 1] = (chosen ^ 1 << last) | 1 << last + 1
                cost[size + 1] = value + more - margins[order[last]] ** 2
                size += 2
        return count

    @numba.njit(nogil=True, cache=False)  # type: ignore[untyped-decorator]
    def sift(ids: Any, scores: Any, at: Any) -> None:
        # a heap with the worst result on top: the lowest score, and of equal ones the highest number
        k = len(ids)
        while True:
            worst = at
            for child in (2 * at + 1, 2 * at + 2):
                if child < k and (
                    scores[child] < scores[worst] or (scores[child] == scores[worst] and ids[child] > ids[worst])
                ):
                    worst = child
            if worst == at:
                return
            ids[at], ids[worst] = ids[worst], ids[at]
            scores[at], scores[worst] = scores[worst], scores[at]
            at = worst

    @numba.njit(nogil=True, cache=False)  # type: ignore[untyped-decorator]
    def kernel(
        x: Any,
        q: Any,
        margins: Any,
        orders: Any,
        offsets: Any,
        members: Any,
        probes: Any,
        seen: Any,
        begin: Any,
        ids: Any,
        scores: Any,
    ) -> None:
        tables, b = margins.shape[1], margins.shape[2]
        wanted = min(probes, 1 << b)
        flips = np.empty(wanted, np.int64)
        heap = np.empty(wanted + 2, np.int64)
        cost = np.empty(wanted + 2, np.float64)
        for query in range(len(q)):
            kept, kept_scores = ids[query], scores[query]
            for table in range(tables):
                key = 0
                for bit in range(b):
                    if margins[query, table, bit] > 0:
                        key |= 1 << bit
                count = plan(margins[query, table], orders[query, table], wanted, flips, heap, cost)
                for number in range(count):
                    bucket = key ^ flips[number]
                    for place in range(offsets[table, bucket], offsets[table, bucket + 1]):
                        row = members[table, place]
                        if seen[row] == begin + query:
                            continue
                        seen[row] = begin + query
                        score = dot(x[row], q[query])
                        if score > kept_scores[0] or (score == kept_scores[0] and row < kept[0]):
                            kept[0], kept_scores[0] = row, score
                            sift(kept, kept_scores, 0)

    compiled: Callable[..., None] = kernel
    return compiled

"""How good a ranking is, query by query: against the relevance, and against exact search."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.relevance import Relevance

__all__ = ["DEPTH", "MAIN", "QUALITY", "scores"]

DEPTH = 100  # neighbours observed of every query
MAIN = "ndcg@10"  # what boards are ordered by
QUALITY = (
    *(MAIN, "mrr@10", "recall@1", "recall@10", "recall@100"),
    *("exact-recall@1", "exact-recall@10", "exact-recall@100"),
)

Floats = NDArray[np.float64]


def scores(
    relevance: Relevance, ids: NDArray[np.integer[Any]], ranks: NDArray[np.integer[Any]] | None
) -> dict[str, Floats]:
    """Return every metric of `QUALITY` for every query, (Q,) each, in [0, 1]; without ``ranks`` none of exact search.

    The gain of a row is its grade, nDCG discounts by log2(rank + 1) (Järvelin and Kekäläinen 2002, as trec_eval has it).
    Recall is the share of a query's relevant rows among the first k; a query without a relevant row has 0 in all of these, as in
    trec_eval. Exact-recall is the share of the first k that are as near as the k-th of exact search, so that a tie counts
    whichever of its rows was found.

    Args:
        relevance: of Q queries.
        ids: (Q, K) rows found, best first; -1 where fewer were found.
        ranks: (Q, K) rank in exact search of every row found, from 1, ties sharing the best; 0 beyond the K nearest.
    """
    gains = relevance.gains(ids)
    hits = gains > 0
    counts = relevance.counts
    discount = 1 / np.log2(np.arange(2, 12))
    ideal = np.cumsum(relevance.best(10) * discount, axis=1)[:, -1]
    top = hits[:, :10]
    first = np.where(top.any(axis=1), top.argmax(axis=1) + 1.0, np.inf)
    gained = gains[:, :10] @ discount[: top.shape[1]]
    found: dict[str, Floats] = {"ndcg@10": gained / np.where(counts > 0, ideal, 1.0), "mrr@10": 1 / first}
    for k in (1, 10, 100):
        found[f"recall@{k}"] = hits[:, :k].sum(axis=1) / np.maximum(counts, 1)
    if ranks is None:
        return found
    near = np.where(ranks > 0, ranks, np.iinfo(np.int64).max)
    for k in (1, 10, 100):
        deep = min(k, ids.shape[1])
        found[f"exact-recall@{k}"] = (near[:, :deep] <= deep).sum(axis=1) / deep
    return found

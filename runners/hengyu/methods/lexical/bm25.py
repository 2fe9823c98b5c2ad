"""bm25(grams, words, k1, b): terms that are rare in the corpus and frequent in a text, in proportion to its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hengyu.methods.search.sparse import SparseSearch

__all__ = ["METHOD", "Bm25"]


@dataclass
class Bm25(SparseSearch):
    """Ranks texts by BM25 over character 1-2-grams or words; needs no encoder.

    ``grams=jieba`` are the words of jieba, ``grams=words`` those of a list without a dictionary: discovered in the texts that
    are indexed, or read from the file ``words``, which `hengyu words` writes (Su, kexue.fm 6920).

    A term t of the query adds ``idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length))`` for each time that it stands
    in the query, with ``idf(t) = ln(1 + (n - df + 0.5) / (df + 0.5))``, which is never negative. Robertson, Zaragoza, The
    Probabilistic Relevance Framework: BM25 and Beyond, 2009; the idf and the defaults are Lucene's.
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.k1 <= 1000:
            raise ValueError(f"bm25(k1={self.k1}) must lie in 0..1000")
        if not 0 <= self.b <= 1:
            raise ValueError(f"bm25(b={self.b}) must lie in 0..1")

    def _weigh(self, counts: Any) -> Any:
        n = counts.shape[0]
        df = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log1p((n - df + 0.5) / (df + 0.5))
        length = np.asarray(counts.sum(axis=1)).ravel()
        floor = self.k1 * (1 - self.b + self.b * length / length.mean())
        tf = counts.data
        row = np.repeat(np.arange(n), np.diff(counts.indptr))
        counts.data = idf[counts.indices] * tf * (self.k1 + 1) / (tf + floor[row])
        return counts

    def _ask(self, counts: Any) -> Any:
        return counts


METHOD = Bm25

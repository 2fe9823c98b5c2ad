"""cur(model, anchors, queries, rerank): a cross-encoder's scores of all documents from those of a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Ids
from hengyu.methods.search.scored import CHUNK, ScoredSearch
from hengyu.numerics.cur import cur_factor

__all__ = ["METHOD", "Cur"]


@dataclass
class Cur(ScoredSearch):
    """Approximates a cross-encoder's scores: ``anchors`` + ``rerank`` calls a query instead of one for every document.

    ANNCUR (Yadav et al., Efficient Nearest Neighbor Search for Cross-Encoder Models using Matrix Factorization, EMNLP 2022,
    arXiv:2210.12579; Su, kexue.fm 9336). When it is built, ``queries`` anchor queries are scored with all documents: R (v, n). A
    query is scored with ``anchors`` documents alone, c (u,), and its scores with all others are about c pinv(R[:, u]) R, which is
    exact if the scores have no higher rank. The first ``rerank`` of these are then scored exactly. Anchors are drawn at random;
    anchor queries are documents in the place of queries, so that no query of the task is used. Singular values below ``rcond``
    times the largest count as 0. ``model`` is a cross-encoder's folder or cached hub id; its probabilities count as log odds.
    """

    anchors: int = 64
    queries: int = 256
    rerank: int = 0
    rcond: float = 1e-3
    seed: int = 0
    _columns: Ids = field(init=False, repr=False)
    _factor: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, least in (("anchors", 1), ("queries", 1), ("rerank", 0), ("seed", 0)):
            if not least <= getattr(self, key) <= 2**32 - 1:
                raise ValueError(f"{self.name}({key}={getattr(self, key)}) must be at least {least}")
        if not 0 <= self.rcond < 1:
            raise ValueError(f"{self.name}(rcond={self.rcond}) must lie in 0..1")

    def build(self, texts: Sequence[str]) -> Self:
        """Score the anchor queries with texts (n,): ``queries`` times n calls; raises ValueError for fewer texts than anchors."""
        super().build(texts)
        n = len(texts)
        for key in ("anchors", "queries"):
            if getattr(self, key) > n:
                raise ValueError(f"{self.name}({key}={getattr(self, key)}) exceeds the {n} documents; lower {key}")
        rng = np.random.default_rng(self.seed)
        self._columns = np.sort(rng.permutation(n)[: self.anchors])
        asking = np.sort(rng.permutation(n)[: self.queries])
        rows = np.empty((len(asking), n))
        step = max(1, CHUNK // n)  # several queries together: batches are larger
        for start in range(0, len(asking), step):
            some = [texts[int(i)] for i in asking[start : start + step]]
            scores = self.score([query for query in some for _ in range(n)], list(texts) * len(some))
            rows[start : start + step] = scores.reshape(len(some), n)
        self._factor = cur_factor(rows, self._columns, self.rcond).astype(np.float32)
        return self

    def _one(self, query: str, k: int) -> tuple[Ids, NDArray[np.float64]]:
        known = self.of_query(query, self._columns)
        about = (known.astype(np.float32) @ self._factor).astype(np.float64)
        about[self._columns] = known
        order = np.lexsort((np.arange(len(about)), -about))[: max(k, self.rerank)]
        if not self.rerank:
            return order[:k], about[order[:k]]
        chosen, rest = order[: self.rerank], order[self.rerank :]
        exact = about.copy()
        new = np.setdiff1d(chosen, self._columns)
        exact[new] = self.of_query(query, new)
        rows, scores = self.best(chosen, exact[chosen], len(chosen))
        return np.concatenate([rows, rest]), np.concatenate([scores, scores.min() - 1.0 - np.arange(len(rest))])

    def size(self) -> int:
        """Return the bytes of the factor that is stored, a number for each anchor and document."""
        return int(self._factor.nbytes)


METHOD = Cur

"""cross-rerank(model, depth, first): the first results of BM25, ordered by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Ids, Lexical
from hengyu.methods.lexical.bm25 import Bm25
from hengyu.methods.lexical.tfidf import Tfidf
from hengyu.methods.search.scored import ScoredSearch

__all__ = ["METHOD", "CrossRerank"]

_FIRST = {"bm25": Bm25, "tfidf": Tfidf}


@dataclass
class CrossRerank(ScoredSearch):
    """Finds ``depth`` documents by lexical search and orders them by a cross-encoder: as many calls a query.

    The usual way to search with a cross-encoder (Nogueira and Cho, Passage Re-ranking with BERT, arXiv:1901.04085). What the first
    stage does not find is lost. ``first`` is bm25 or tfidf with their defaults; ``model`` is a cross-encoder's folder or cached hub
    id. Results beyond ``depth`` keep the order of the first stage.
    """

    depth: int = 64
    first: str = "bm25"
    _stage: Lexical = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.depth <= 10_000:
            raise ValueError(f"{self.name}(depth={self.depth}) must lie in 1..10000")
        if self.first not in _FIRST:
            raise ValueError(f"{self.name}(first={self.first}) must be {' or '.join(_FIRST)}")

    def build(self, texts: Sequence[str]) -> Self:
        """Index texts (n,) for the first stage."""
        self._stage = _FIRST[self.first]().build(texts)
        return super().build(texts)

    def _one(self, query: str, k: int) -> tuple[Ids, NDArray[np.float64]]:
        found = self._stage.search([query], min(max(k, self.depth), len(self._texts)))[0][0]
        found = found[found >= 0]
        chosen, rest = found[: self.depth], found[self.depth :]
        rows, scores = self.best(chosen, self.of_query(query, chosen), len(chosen))
        floor = float(scores.min()) if len(scores) else 0.0
        return np.concatenate([rows, rest]), np.concatenate([scores, floor - 1.0 - np.arange(len(rest))])

    def size(self) -> int:
        """Return the bytes of the first stage's index."""
        return self._stage.size()

    def vector_size(self) -> float:
        """Return the bytes that a document takes in the first stage's index."""
        return self._stage.vector_size()


METHOD = CrossRerank

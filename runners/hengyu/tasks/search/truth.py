"""Relevance as what observations are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.relevance import Relevance
from hengyu.tasks.interface.truth import ItemMeans, Truth, sha_of
from hengyu.tasks.search.ranking import QUALITY, scores

__all__ = ["Relevant"]

Floats = NDArray[np.float64]
_JUDGED = ("own", "partners", "grades", "starts")


@dataclass(frozen=True)
class Relevant(ItemMeans):
    """Which rows answer which queries; the items are the queries."""

    task: str
    relevance: Relevance
    metrics: tuple[str, ...] = QUALITY

    @property
    def n(self) -> int:
        """The number of queries."""
        return len(self.relevance.queries)

    @property
    def digest(self) -> str:
        """The digest of which rows answer which queries, and how well."""
        return self.relevance.digest

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group (Q,) of each query: those that relevance connects are no two chances to be right."""
        return self.relevance.groups

    @property
    def about(self) -> dict[str, Any]:
        """How much is searched and asked."""
        r = self.relevance
        return {
            "corpus": len(r.corpus),
            "queries": len(r.queries),
            "relevant": len(r.partners),
            "groups": int(r.groups.max()) + 1,
        }

    def texts(self, side: str) -> NDArray[np.int64]:
        """Return the numbers of the queries or of the documents."""
        return self.relevance.queries if side == "query" else self.relevance.corpus

    def scores(self, tensors: Mapping[str, NDArray[Any]], row: int) -> dict[str, Floats] | None:
        """Return every metric of every query; an observation is of one row.

        What was found without vectors has no ranks in exact search, and none of the metrics that are made of them.
        """
        ids, ranks = tensors.get("neighbours.ids"), tensors.get("neighbours.ranks")
        if ids is None or len(ids) != self.n:
            return None
        return scores(self.relevance, ids, ranks)

    def metrics_of(self, scores: Any) -> tuple[str, ...]:
        """Return the metrics that scores have."""
        return tuple(m for m in self.metrics if m in scores)

    def like(self, other: Truth) -> bool:
        """Whether both ask the same of the same rows."""
        if not isinstance(other, Relevant):
            return False
        return all(np.array_equal(getattr(self.relevance, x), getattr(other.relevance, x)) for x in _JUDGED)

    def order(self) -> str:
        """Return 16 digits over what is asked, and the groups."""
        return sha_of(*(getattr(self.relevance, x) for x in _JUDGED), self.relevance.groups)

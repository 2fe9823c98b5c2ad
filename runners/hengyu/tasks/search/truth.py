"""Relevance as what observations are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.relevance import Relevance
from hengyu.storage.identity import digest as digest_of
from hengyu.storage.identity import text_digest
from hengyu.tasks.interface.truth import ItemMeans, Truth, sha_of
from hengyu.tasks.search.ranking import QUALITY, scores

__all__ = ["Relevant"]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
_JUDGED = ("own", "partners", "grades", "starts")


@dataclass(frozen=True)
class Relevant(ItemMeans):
    """Which rows answer which queries; the items are the queries."""

    task: str
    relevance: Relevance
    metrics: tuple[str, ...] = QUALITY
    distractors: int | None = (
        None  # rows at the end of the corpus that are relevant to nothing; None where there are to be none
    )
    left_out: int = 0  # distractors that are documents or queries of the task
    distractors_digest: str = ""  # of the texts of those rows, in order

    @property
    def n(self) -> int:
        """The number of queries."""
        return len(self.relevance.queries)

    @property
    def digest(self) -> str:
        """The digest of which rows answer which queries, and how well; of what stands among them."""
        own = self.relevance.digest
        return own if self.distractors is None else digest_of([own, self.distractors_digest])

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
            **self._distracted,
        }

    @property
    def _distracted(self) -> dict[str, Any]:
        if self.distractors is None:
            return {}
        return {
            "distractors": self.distractors,
            "distractors_left_out": self.left_out,
            "distractors_sha256": self.distractors_digest,
        }

    def among(self, others: Ids, texts: Sequence[str]) -> Relevant:
        """Return the same with more texts (k,) searched; those that are a document or a query of the task are left out."""
        known = np.union1d(self.relevance.corpus, self.relevance.queries)
        new = np.flatnonzero(~np.isin(others, known))
        return replace(
            self,
            relevance=self.relevance.among(others[new]),
            distractors=len(new),
            left_out=len(others) - len(new),
            distractors_digest=text_digest(texts[int(i)] for i in new),
        )

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

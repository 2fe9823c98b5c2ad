"""Relevance: builds a retrieval task from labelled pairs or judgements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.storage.identity import array_digest

__all__ = ["Relevance"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Relevance:
    """Which rows of a corpus are relevant to which queries, with grades.

    A document that is judged but is not in the corpus cannot be found; it stays among what is relevant, as in trec_eval, under
    a row number from m on.

    Attributes:
        corpus: (m,) numbers of the searched texts, row by row.
        queries: (Q,) numbers of the query texts.
        own: (Q,) the row that is the query itself, excluded from its results; -1 if it is not in the corpus.
        partners: (J,) relevant rows of the corpus, query by query, ascending within each; m and above are not in the corpus.
        grades: (J,) grades of relevance, above 0; 1 for binary relevance.
        starts: (Q + 1,) offsets of each query's partners.
        groups: (Q,) numbers from 0 of the groups of queries connected by relevance, which are not independent.
    """

    corpus: Ids
    queries: Ids
    own: Ids
    partners: Ids
    grades: NDArray[np.float64]
    starts: Ids
    groups: Ids

    @classmethod
    def of(cls, first: Ids, second: Ids, relevant: NDArray[np.bool_], name: str = "the task") -> Self:
        """Build the task from pairs of texts (n,) and which are relevant (n,); both sentences of a relevant pair are queries.

        Every text is in the corpus once; corpus and queries are in the order of first appearance. Raises `HengyuError` if no
        pair of two different texts is relevant.
        """
        ids = np.concatenate([first, second])
        distinct, places = np.unique(ids, return_index=True)
        order = np.argsort(places)
        corpus = distinct[order]
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order))
        a, b = np.split(row[np.searchsorted(distinct, ids)], 2)
        kept = relevant & (a != b)
        if not kept.any():
            raise HengyuError(f"{name}: no pair of two different sentences is relevant, so there are no queries")
        both = np.unique(
            np.concatenate([np.stack([a[kept], b[kept]], axis=1), np.stack([b[kept], a[kept]], axis=1)]), axis=0
        )
        own, starts = np.unique(both[:, 0], return_index=True)
        groups = _groups(both[:, 0], both[:, 1], len(corpus), own)
        bounds = np.append(starts, len(both)).astype(np.int64)
        return cls(corpus, corpus[own], own, both[:, 1], np.ones(len(both)), bounds, groups)

    @classmethod
    def judged(cls, corpus: Ids, queries: Ids, own: Ids, asked: Ids, answers: Ids, grades: NDArray[np.float64]) -> Self:
        """Build the task from judgements (J,): query, row of the corpus, grade; those of grade 0 are ignored.

        Rows from m on are documents that are not in the corpus. Judgements of a query's ``own`` row are ignored. A query
        without a grade above 0 counts with 0, as in trec_eval.
        """
        kept = np.flatnonzero((grades > 0) & (own[asked] != answers))
        order = kept[np.lexsort((answers[kept], asked[kept]))]
        starts = np.searchsorted(asked[order], np.arange(len(queries) + 1))
        m = len(corpus)
        rows = max(m, int(answers.max(initial=0)) + 1)
        groups = _groups(rows + asked[order], answers[order], rows + len(queries), rows + np.arange(len(queries)))
        return cls(corpus, queries, own, answers[order], grades[order], starts, groups)

    def among(self, others: Ids) -> Self:
        """Return the same with texts (k,) searched beside the corpus that are relevant to no query; its rows keep their numbers."""
        m = len(self.corpus)
        moved = np.where(self.partners < m, self.partners, self.partners + len(others))
        return replace(self, corpus=np.concatenate([self.corpus, others]), partners=moved)

    @property
    def digest(self) -> str:
        """The sha256 of the relevant rows and grades of all queries."""
        return array_digest(self.own, self.partners, self.grades, self.starts, self.groups)

    @property
    def counts(self) -> Ids:
        """The number of relevant rows of each query (Q,)."""
        return np.diff(self.starts)

    @property
    def spare(self) -> int:
        """How many extra neighbours to search so that a query's own row can be left out."""
        return int((self.own >= 0).any())

    def gains(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the grade of each result (Q, k) for its query, 0 if not relevant; -1 marks a missing result."""
        m = np.int64(max(len(self.corpus), int(self.partners.max(initial=0)) + 1))
        wanted = np.repeat(np.arange(len(self.queries)), self.counts) * m + self.partners  # ascending
        asked = np.arange(len(self.queries))[:, None] * m + ids
        at = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
        return np.where((wanted[at] == asked) & (ids >= 0), self.grades[at], 0.0)

    def best(self, k: int) -> NDArray[np.float64]:
        """Return the k highest grades of each query (Q, k), descending; padded with 0."""
        query = np.repeat(np.arange(len(self.queries)), self.counts)
        order = np.lexsort((-self.grades, query))
        place = np.arange(len(query)) - self.starts[query]
        found = np.zeros((len(self.queries), k))
        near = place < k
        found[query[near], place[near]] = self.grades[order][near]
        return found


def _groups(one: Ids, other: Ids, size: int, members: Ids) -> Ids:
    """Return the connected component, numbered from 0, of each member (Q,) in a graph of ``nodes`` nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][members]
    return np.unique(component, return_inverse=True)[1].astype(np.int64)

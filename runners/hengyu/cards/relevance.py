"""Relevance: what a retrieval task asks for, drawn from the labelled pairs of a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.storage.identity import array_digest

__all__ = ["Relevance"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Relevance:
    """Which rows of a corpus answer which queries, and how well.

    Attributes:
        corpus: (m,) numbers of the texts that are searched, row by row.
        queries: (Q,) numbers of the texts that ask.
        own: (Q,) the row that is the query itself, which it never finds; -1 where it is not in the corpus.
        partners: (J,) rows of the corpus that are relevant, query after query, ascending within one.
        grades: (J,) how relevant, above 0; 1 where it is yes or no.
        starts: (Q + 1,) where each query's partners begin.
        groups: (Q,) numbers from 0: queries that relevance connects, which stand or fall together.
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
        """Make the task of pairs of texts (n,), of which some are relevant (n,); both sentences of such a pair ask.

        Every text is in the corpus once, in the order of its first appearance; queries stand in that order too. Raises
        `HengyuError` where no pair of two different texts is relevant.
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
            raise HengyuError(f"{name}: no pair of two different sentences is relevant, so nothing can be asked for")
        both = np.unique(
            np.concatenate([np.stack([a[kept], b[kept]], axis=1), np.stack([b[kept], a[kept]], axis=1)]), axis=0
        )
        own, starts = np.unique(both[:, 0], return_index=True)
        groups = _groups(both[:, 0], both[:, 1], len(corpus), own)
        bounds = np.append(starts, len(both)).astype(np.int64)
        return cls(corpus, corpus[own], own, both[:, 1], np.ones(len(both)), bounds, groups)

    @classmethod
    def judged(cls, corpus: Ids, queries: Ids, own: Ids, asked: Ids, answers: Ids, grades: NDArray[np.float64]) -> Self:
        """Make the task of judgements (J,): query, row of the corpus, grade; those of grade 0 say nothing.

        Every query has one above 0. What is judged of a query's ``own`` row does not count.
        """
        kept = np.flatnonzero((grades > 0) & (own[asked] != answers))
        order = kept[np.lexsort((answers[kept], asked[kept]))]
        starts = np.searchsorted(asked[order], np.arange(len(queries) + 1))
        m = len(corpus)
        groups = _groups(m + asked[order], answers[order], m + len(queries), m + np.arange(len(queries)))
        return cls(corpus, queries, own, answers[order], grades[order], starts, groups)

    @property
    def digest(self) -> str:
        """The sha256 of which rows answer which queries, and how well."""
        return array_digest(self.own, self.partners, self.grades, self.starts, self.groups)

    @property
    def counts(self) -> Ids:
        """How many rows are relevant to each query (Q,); at least 1."""
        return np.diff(self.starts)

    @property
    def spare(self) -> int:
        """How many neighbours more must be found, so that a query's own row can be left out."""
        return int((self.own >= 0).any())

    def gains(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the grade of each row found (Q, k) for its query, 0 for the others; -1 stands for nothing found."""
        m = np.int64(len(self.corpus))
        wanted = np.repeat(np.arange(len(self.queries)), self.counts) * m + self.partners  # ascending
        asked = np.arange(len(self.queries))[:, None] * m + ids
        at = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
        return np.where((wanted[at] == asked) & (ids >= 0), self.grades[at], 0.0)

    def best(self, k: int) -> NDArray[np.float64]:
        """Return the k highest grades of each query (Q, k), the highest first; 0 where it has fewer."""
        query = np.repeat(np.arange(len(self.queries)), self.counts)
        order = np.lexsort((-self.grades, query))
        place = np.arange(len(query)) - self.starts[query]
        found = np.zeros((len(self.queries), k))
        near = place < k
        found[query[near], place[near]] = self.grades[order][near]
        return found


def _groups(one: Ids, other: Ids, size: int, members: Ids) -> Ids:
    """Return which connected part of a graph of so many nodes each member (Q,) is in, numbered from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][members]
    return np.unique(component, return_inverse=True)[1].astype(np.int64)

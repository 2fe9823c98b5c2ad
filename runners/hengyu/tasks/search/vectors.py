"""Retrieval: from vectors or texts through an entry's steps to the neighbours of every query."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.relevance import Relevance
from hengyu.methods.base import Fusion, Searcher
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import Entry
from hengyu.methods.pipeline import PipelineFitter
from hengyu.methods.search.cost import Peak, queries_once, queries_per_second, threads
from hengyu.methods.search.exact import Exact, exact_search
from hengyu.methods.search.fused import FusedSearch, JoinedQueries
from hengyu.methods.step import Step
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.numerics.pairwise import unit_rows
from hengyu.numerics.sample import Sample
from hengyu.tasks.search.ranking import DEPTH

__all__ = ["RetrievalResult", "RetrievalVectors"]

_HELD = 1 << 28  # bytes of transformed vectors up to which they are held, and not made again for every index


@dataclass(frozen=True)
class RetrievalResult:
    """What an entry found: rows and their ranks in exact search (Q, K), sizes of the index, costs, the fit, the cloud.

    Without vectors of its own (lexical search, a fusion) there is no ``dim`` and no exact search to have ranks in.
    """

    dim: int | None
    ids: NDArray[np.int32]
    ranks: NDArray[np.uint8] | None
    sizes: Mapping[str, float]
    costs: Mapping[str, float]
    fit: Mapping[str, Any]
    cloud: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Prepared:
    """The corpus as the steps before an index leave it, at length 1; its queries; what exact search finds in it.

    Under another similarity than the cosine both are mapped so that products order rows as it does; ``dim`` is their width before.
    """

    dim: int
    rows: Sample
    queries: NDArray[np.float32]
    exact: Exact
    fit: Mapping[str, Any]
    unstored: int = 0  # bytes of each row that the mapping adds and an index that knows the similarity would not store


@dataclass(frozen=True)
class _Built:
    """What an entry searches, built, and its queries as it takes them; the vectors, for an entry that ends in an index."""

    search: Searcher | FusedSearch
    queries: Any
    vectors: _Prepared | None
    fit: Mapping[str, Any]


@dataclass
class RetrievalVectors:
    """The vectors of one retrieval task under one encoder and pooling, read in blocks, and its texts.

    Attributes:
        corpus: the rows that are searched; empty where there is no encoder.
        queries: the rows that ask.
        relevance: what they ask for.
        texts: the texts of the corpus and of the queries, row by row, for lexical search.
        samples: fit_on word -> the sentences a method is fitted on.
        fits: recalls what methods that are trained have learned before.
        block: rows read at a time; no result depends on it.
    """

    corpus: Sample
    queries: Sample
    relevance: Relevance
    samples: Mapping[str, Sample]
    fits: FitCache = field(default_factory=FitCache)
    block: int = 4096
    texts: Callable[[], tuple[Sequence[str], Sequence[str]]] | None = None
    _fitting: PipelineFitter = field(init=False)
    _prepared: tuple[tuple[tuple[Step, ...], Step | None, str], _Prepared] | None = None
    _cloud: tuple[_Prepared, Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        self._fitting = PipelineFitter(self.samples, self.fits)

    @property
    def depth(self) -> int:
        """How many neighbours of each query are looked at: 100, or all there are but its own."""
        return min(DEPTH, len(self.relevance.corpus) - self.relevance.spare)

    def observe(
        self, entry: Entry, fit_on: str, seed: int | None = None, cloud_sample: CloudSample | None = None
    ) -> RetrievalResult:
        """Run an entry that ends in a search; raises ValueError when it cannot be.

        With a ``cloud_sample`` the cloud of the vectors that an index searches by the cosine, of length 1, is looked at.

        Entries that differ in their index alone, one after the other, share what comes before it. ``seed`` is what the
        steps draw by where the entry leaves that open.
        """
        run = entry if seed is None else entry.with_seed(seed)
        prepared = self._prepare(run.steps, fit_on, run.similarity)
        peak = Peak()
        started = time.perf_counter()
        with threads(1):  # on one thread a graph grows the same way every time
            built = prepared()
        seconds = time.perf_counter() - started
        fused = isinstance(built.search, FusedSearch)
        spare = 0 if fused else self.relevance.spare  # a fusion leaves the queries' own rows out of the lists it joins
        measured = queries_once if built.search.costly else queries_per_second
        ids, rates = measured(built.search, built.queries, self.depth + spare)
        costs = {**rates, "build-seconds": seconds}
        most = peak.bytes()
        if most is not None:
            costs["peak-memory"] = float(most)
        if spare:
            ids = _without(ids, self.relevance.own)
        # a column that only turns distances into products is not what an index of such vectors stores
        unstored = 0 if built.vectors is None else built.vectors.unstored
        sizes = {
            "index-bytes": float(built.search.size() - unstored * len(self.relevance.corpus)),
            "bytes-per-vector": built.search.vector_size() - unstored,
            **({"calls": calls} if (calls := built.search.calls_per_query) else {}),
        }
        found = ids.astype(np.int32)
        before = built.vectors
        if before is None:
            return RetrievalResult(None, found, None, sizes, costs, built.fit)
        cloud = self._look(before, cloud_sample) if cloud_sample else None
        return RetrievalResult(before.dim, found, before.exact.ranks(ids), sizes, costs, built.fit, cloud)

    def searched(self, entry: Entry, fit_on: str, seed: int | None = None) -> tuple[Sample, NDArray[np.float32]]:
        """Return the vectors (n, d) that the index of an entry searches, and the queries (Q, d), all of length 1.

        Raises ValueError for a search that has no vectors of its own, and for one by another similarity than the cosine.
        """
        if entry.similarity is not None:
            raise ValueError(f"{entry} does not search by the cosine")
        steps = (entry if seed is None else entry.with_seed(seed)).steps
        if steps[-1].joined or entry.lexical:
            raise ValueError(f"{entry} has no vectors of its own")
        before = self._before(steps[: -_searching(steps)], fit_on)
        return before.rows, before.queries

    def _prepare(self, steps: tuple[Step, ...], fit_on: str, similarity: Step | None = None) -> Callable[[], _Built]:
        """Make what stands before the searches of an entry; return what builds them."""
        last = steps[-1]
        method = last.make()
        if last.joined:
            parts = [self._prepare(joined, fit_on) for joined in last.joined]
            return lambda: self._join(method, [build() for build in parts])
        method.warm()
        if last.method.category == "lexical":
            if self.texts is None:
                raise ValueError(f"{last} searches texts, and there are only vectors")
            documents, queries = self.texts()
            return lambda: _Built(method.build(documents), queries, None, {})
        own = _searching(steps)
        if own > 1:
            coarse = steps[-2].make()
            coarse.warm()
            method = method.over(coarse)
        before = self._before(steps[:-own], fit_on, similarity)
        return lambda: _Built(method.build(before.rows, self.block), before.queries, before, before.fit)

    def _join(self, method: Fusion, parts: Sequence[_Built]) -> _Built:
        search = FusedSearch(method, [part.search for part in parts], len(self.relevance.corpus))
        queries = JoinedQueries(tuple(part.queries for part in parts), self.relevance.own)
        return _Built(search, queries, None, next((part.fit for part in parts if part.fit), {}))

    def _look(self, before: _Prepared, cloud_sample: CloudSample) -> Mapping[str, Any]:
        """Look at the cloud of what an index searches; its alignment is that of the queries and what is relevant to them."""
        if self._cloud is None or self._cloud[0] is not before:
            width, asked = before.queries.shape[1], self.relevance
            here = np.flatnonzero(asked.partners < len(asked.corpus))[: cloud_sample.pairs]
            query = before.queries[np.repeat(np.arange(len(asked.queries)), asked.counts)[here]]
            partner = before.rows.rows(asked.partners[here])
            aligned = float((2 - 2 * np.einsum("nd,nd->n", query, partner, dtype=np.float64)).mean())
            x = before.rows.rows(cloud_sample.rows(len(before.rows), width))
            self._cloud = before, cloud_sample.of(x, [width], [aligned])[0]
        return self._cloud[1]

    def _before(self, steps: tuple[Step, ...], fit_on: str, similarity: Step | None = None) -> _Prepared:
        """Fit and apply the steps before an index, and search exactly in what they leave, by a similarity or the cosine."""
        key = (steps, similarity, fit_on)
        if self._prepared is not None and self._prepared[0] == key:
            return self._prepared[1]
        rows, asking, chain = self.corpus, self.queries, self._fitting.chain(fit_on)
        for step in steps:
            method = chain.add(step)
            rows, asking = rows.then(method), asking.then(method)
        dim = rows.rows(np.arange(1)).shape[1]
        if not dim:
            raise ValueError("no dimension is left of the vectors")
        stored = 0
        if similarity is None:
            rows, asking = rows.then(unit_rows), asking.then(unit_rows)
        else:
            compared = chain.similarity(similarity)
            stored = compared.stored
            rows, asking = compared.as_products(rows, asking, self.block)
        queries = np.concatenate([part for part, _ in asking.blocks(self.block)])
        if len(rows) * queries.shape[1] * 4 <= _HELD:
            rows = Sample.of(np.concatenate([part for part, _ in rows.blocks(self.block)]))
        with threads(1):
            exact = exact_search(rows, queries, self.relevance.own, self.depth, self.block)
        unstored = queries.itemsize * (queries.shape[1] - dim - stored)
        made = _Prepared(dim, rows, queries, exact, chain.report, unstored)
        self._prepared = (key, made)
        return made


def _searching(steps: tuple[Step, ...]) -> int:
    """Return how many steps at the end search: an index, or one and what rescores it."""
    return 2 if len(steps) > 1 and steps[-2].method.searches else 1


def _without(ids: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows found (Q, k + 1) without the query's own (Q,), or without the last where that is not among them."""
    keep = (ids != own[:, None]) | (own < 0)[:, None]
    keep[keep.all(axis=1), -1] = False
    others: NDArray[np.int64] = ids[keep].reshape(len(ids), -1)
    return others

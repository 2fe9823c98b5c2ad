"""Retrieval: from vectors through an entry's steps to the neighbours of every query."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.relevance import Relevance
from hengyu.methods.base import Floats, Index
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import Entry
from hengyu.methods.pipeline import PipelineFitter
from hengyu.methods.search.cost import Peak, queries_per_second, threads
from hengyu.methods.search.exact import Exact, exact_search
from hengyu.methods.step import Step
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.numerics.sample import Sample
from hengyu.tasks.search.ranking import DEPTH

__all__ = ["RetrievalResult", "RetrievalVectors"]

_HELD = 1 << 28  # bytes of transformed vectors up to which they are held, and not made again for every index


@dataclass(frozen=True)
class RetrievalResult:
    """What an entry found: rows and their ranks in exact search (Q, K), sizes of the index, costs, the fit, the cloud."""

    dim: int
    ids: NDArray[np.int32]
    ranks: NDArray[np.uint8]
    sizes: Mapping[str, float]
    costs: Mapping[str, float]
    fit: Mapping[str, Any]
    cloud: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Prepared:
    """The corpus as the steps before an index leave it, at length 1; its queries; what exact search finds in it."""

    rows: Sample
    queries: NDArray[np.float32]
    exact: Exact
    fit: Mapping[str, Any]


@dataclass
class RetrievalVectors:
    """The vectors of one retrieval task under one encoder and pooling, read in blocks.

    Attributes:
        corpus: the rows that are searched.
        queries: the rows that ask.
        relevance: what they ask for.
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
    _fitting: PipelineFitter = field(init=False)
    _prepared: tuple[tuple[tuple[Step, ...], str], _Prepared] | None = None
    _cloud: tuple[_Prepared, Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        self._fitting = PipelineFitter(self.samples, self.fits)

    @property
    def depth(self) -> int:
        """How many neighbours of each query are looked at: 100, or all there are but its own."""
        return min(DEPTH, len(self.corpus) - self.relevance.spare)

    def observe(
        self, entry: Entry, fit_on: str, seed: int | None = None, cloud_sample: CloudSample | None = None
    ) -> RetrievalResult:
        """Run an entry that ends in an index; raises ValueError when it cannot be.

        With a ``cloud_sample`` the cloud of the vectors that the index searches, of length 1, is looked at.

        Entries that differ in their index alone, one after the other, share what comes before it. ``seed`` is what the
        steps draw by where the entry leaves that open.
        """
        run = entry if seed is None else entry.with_seed(seed)
        before = self._before(run.steps[:-1], fit_on)
        index: Index = run.steps[-1].make()
        index.warm()
        peak = Peak()
        started = time.perf_counter()
        with threads(1):  # on one thread a graph grows the same way every time
            index.build(before.rows, self.block)
        built = time.perf_counter() - started
        ids, rates = queries_per_second(index, before.queries, self.depth + self.relevance.spare)
        costs = {**rates, "build-seconds": built}
        most = peak.bytes()
        if most is not None:
            costs["peak-memory"] = float(most)
        if self.relevance.spare:
            ids = _without(ids, self.relevance.own)
        sizes = {"index-bytes": float(index.size()), "bytes-per-vector": index.vector_size()}
        found = (ids.astype(np.int32), before.exact.ranks(ids), sizes, costs, before.fit)
        return RetrievalResult(
            before.queries.shape[1], *found, self._look(before, cloud_sample) if cloud_sample else None
        )

    def _look(self, before: _Prepared, cloud_sample: CloudSample) -> Mapping[str, Any]:
        """Look at the cloud of what an index searches; its alignment is that of the queries and what is relevant to them."""
        if self._cloud is None or self._cloud[0] is not before:
            width, asked = before.queries.shape[1], self.relevance
            pairs = slice(cloud_sample.pairs)
            query = before.queries[np.repeat(np.arange(len(asked.queries)), asked.counts)[pairs]]
            partner = before.rows.rows(asked.partners[pairs])
            aligned = float((2 - 2 * np.einsum("nd,nd->n", query, partner, dtype=np.float64)).mean())
            x = before.rows.rows(cloud_sample.rows(len(before.rows), width))
            self._cloud = before, cloud_sample.of(x, [width], [aligned])[0]
        return self._cloud[1]

    def _before(self, steps: tuple[Step, ...], fit_on: str) -> _Prepared:
        """Fit and apply the steps before an index, and search exactly in what they leave."""
        key = (steps, fit_on)
        if self._prepared is not None and self._prepared[0] == key:
            return self._prepared[1]
        rows, asking, chain = self.corpus, self.queries, self._fitting.chain(fit_on)
        for step in steps:
            method = chain.add(step)
            rows, asking = rows.then(method), asking.then(method)
        rows, asking = rows.then(_unit), asking.then(_unit)
        queries = np.concatenate([part for part, _ in asking.blocks(self.block)])
        if not queries.shape[1]:
            raise ValueError("no dimension is left of the vectors")
        if len(rows) * queries.shape[1] * 4 <= _HELD:
            rows = Sample.of(np.concatenate([part for part, _ in rows.blocks(self.block)]))
        with threads(1):
            exact = exact_search(rows, queries, self.relevance.own, self.depth, self.block)
        made = _Prepared(rows, queries, exact, chain.report)
        self._prepared = (key, made)
        return made


def _unit(x: Floats) -> NDArray[np.float32]:
    """Return rows (n, d) at length 1; zero rows stay zero."""
    wide = np.asarray(x, np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    unit: NDArray[np.float32] = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0).astype(np.float32)
    return unit


def _without(ids: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows found (Q, k + 1) without the query's own (Q,), or without the last where that is not among them."""
    keep = (ids != own[:, None]) | (own < 0)[:, None]
    keep[keep.all(axis=1), -1] = False
    others: NDArray[np.int64] = ids[keep].reshape(len(ids), -1)
    return others

"""How an entry is observed that searches: its index is built and asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from hengyu.methods.grammar import Dims, Entry
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.storage.records.observations import Observation
from hengyu.tasks.interface.base import Inputs, Task
from hengyu.tasks.search.truth import Relevant
from hengyu.tasks.search.vectors import RetrievalVectors

__all__ = ["SearchTask"]


class SearchTask(Task):
    """A kind that judges the neighbours of every query."""

    index = True
    baselines = ("bm25", "tfidf")
    tuners = False
    collections = True
    sided = True
    costs = True
    observed_by: ClassVar[tuple[str, ...]] = (RetrievalVectors.__module__,)
    handed_by: ClassVar[tuple[str, ...]] = (__name__,)

    def open(self, inputs: Inputs) -> RetrievalVectors:
        """Open corpus and queries: vectors, which are read block by block, and texts."""
        assert isinstance(inputs.truth, Relevant)
        relevance = inputs.truth.relevance
        corpus, queries = inputs.rows(relevance.corpus), inputs.rows(relevance.queries, "query")

        def texts() -> tuple[list[str], list[str]]:
            return inputs.texts(relevance.corpus), inputs.texts(relevance.queries)

        return RetrievalVectors(corpus, queries, relevance, inputs.samples(), inputs.fits, texts=texts)

    def observe(
        self,
        vectors: RetrievalVectors,
        entry: Entry,
        dims: Dims,
        cache_key: Mapping[str, Any],
        cloud_sample: CloudSample | None,
    ) -> tuple[Observation, Mapping[str, float]]:
        """Build the index and ask it; what it cost differs from run to run."""
        name = str(entry)
        got = vectors.observe(entry, cache_key["fit_on"], cache_key["seed_of_draw"], cloud_sample)
        near: dict[str, NDArray[Any]] = {"ids": got.ids}
        if got.ranks is not None:
            near["ranks"] = got.ranks
        clouds = {name: got.cloud} if got.cloud is not None else None if cache_key["clouds"] is None else {}
        seen = Observation(cache_key, (name,), (got.dim,), fit=got.fit, neighbours=near, index=got.sizes, clouds=clouds)
        return seen, got.costs

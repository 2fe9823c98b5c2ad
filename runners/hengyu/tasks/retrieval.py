"""Retrieval: what indexes find for every query, beside what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hengyu.base.errors import HengyuError
from hengyu.cards.relevance import Relevance
from hengyu.methods.grammar import Entry
from hengyu.storage.records.observations import save_labels
from hengyu.tasks.interface.base import Average, Metric
from hengyu.tasks.interface.data import SearchData, TaskData
from hengyu.tasks.interface.truth import Truth
from hengyu.tasks.search.observing import SearchTask
from hengyu.tasks.search.ranking import MAIN, QUALITY
from hengyu.tasks.search.relevance_file import load_relevance, save_relevance
from hengyu.tasks.search.truth import Relevant

__all__ = ["TASK", "Retrieval"]


class Retrieval(SearchTask):
    """Search, judged by nDCG@10 and by what an index loses of exact search in the same vectors."""

    name = "retrieval"
    metrics = (
        Metric("ndcg@10", "nDCG@10", "gain of the relevant among the first 10, discounted by their place, x 100"),
        Metric("recall@10", "R@10", "share of the relevant among the first 10, x 100"),
        Metric(
            "exact-recall@10",
            "exact@10",
            "share of the first 10 as near as the tenth of exact search in the same vectors, x 100",
        ),
        Metric(
            "calls",
            "calls/query",
            "how often a cross-encoder is called for a query, on average",
            "rate",
            higher_is_better=False,
        ),
        Metric("qps", "queries/s", "queries answered a second, one a call, on one thread", "rate"),
        Metric("qps-batch", "in a batch", "queries answered a second, all in one call, on one thread", "rate"),
        Metric("bytes-per-vector", "bytes/vector", "bytes that one vector more takes", "bytes", higher_is_better=False),
        Metric("index-bytes", "index", "bytes of the whole index", "bytes", higher_is_better=False),
        Metric(
            *("build-seconds", "build s", "seconds to build the index, on one thread", "seconds"),
            higher_is_better=False,
        ),
        Metric("mrr@10", "MRR@10", "1 / place of the first relevant, 0 beyond the tenth, x 100", brief=False),
        Metric("recall@1", "R@1", "share of the relevant that come first, x 100", brief=False),
        Metric("recall@100", "R@100", "share of the relevant among the first 100, x 100", brief=False),
        Metric(
            "exact-recall@1",
            "exact@1",
            "share of the first 1 as near as exact search in the same vectors finds, x 100",
            brief=False,
        ),
        Metric(
            "exact-recall@100",
            "exact@100",
            "share of the first 100 as near as the hundredth of exact search, x 100",
            brief=False,
        ),
        Metric(
            "qps-batch-threads",
            "all threads",
            "queries answered a second, all in one call, on all threads",
            "rate",
            brief=False,
        ),
        Metric(
            "peak-memory",
            "peak",
            "most memory that building and searching took beyond what was held before",
            "bytes",
            brief=False,
            higher_is_better=False,
        ),
    )
    main = MAIN
    compared = QUALITY
    averaged = (*QUALITY, "bytes-per-vector")
    sizes = ("bytes-per-vector", "index-bytes", "calls")
    reference = "flat"
    refused = {
        "cross_encoders": "does not fit a retrieval suite: a cross-encoder has no vectors that an index could hold, and "
        "scores pairs of STS suites only; leave it out, or search by it: cross-rerank(model=DIR), cur(model=DIR)",
    }
    standings = False
    keeps = "relevance"
    layout = "search"
    distracts = True
    traded = ("qps", "bytes-per-vector")
    observed_by = ()

    def truth(self, task: TaskData, thresholds: TaskData | None, relevant: float | None) -> Relevant:
        """Return which texts answer which; raises `HengyuError` where nothing says what is relevant."""
        if isinstance(task, SearchData):
            c = task.collection
            lost = len(task.corpus) + np.arange(len(c.lost[0]))  # each a document of its own that nobody finds
            asked, grades = np.concatenate([c.asked, c.lost[0]]), np.concatenate([c.labels, c.lost[1]])
            answers = np.concatenate([c.answers, lost])
            judged = Relevance.judged(task.corpus, task.queries, c.own, asked, answers, grades)
            return Relevant(task.name, judged)
        card = task.pairs.card
        least = 1.0 if card.binary else relevant
        if least is None:
            low, high = card.scale
            raise HengyuError(
                f"task '{task.name}': its labels are graded from {low:g} to {high:g}; "
                f"say from which on a pair is relevant, like relevant = {low + 0.8 * (high - low):g}"
            )
        drawn = Relevance.of(task.first, task.second, task.pairs.labels >= least, f"task '{task.name}'")
        return Relevant(task.name, drawn)

    def averages(self, tasks: Sequence[TaskData], aggregate: str) -> list[Average]:
        """Return the plain mean over several tasks; of one task there is none."""
        names = tuple(t.name for t in tasks)
        return [Average("mean", names, draws=True)] if len(names) > 1 else []

    def bytes_per_vector(self, entry: Entry, dim: int | None, values: Mapping[str, float]) -> int | None:
        """Return what the index takes for a vector more."""
        return round(values["bytes-per-vector"]) if "bytes-per-vector" in values else None

    def save(self, run: Path, tasks: Sequence[TaskData], truths: Mapping[str, Truth]) -> None:
        """Keep labels and relevance."""
        save_labels(run, {t.name: t.pairs.labels for t in tasks})
        save_relevance(run, {name: truth.relevance for name, truth in truths.items() if isinstance(truth, Relevant)})

    def load(self, run: Path, task: str) -> Relevant | None:
        """Return the relevance that a run kept, its texts numbered by row."""
        relevance = load_relevance(run, task)
        return None if relevance is None else Relevant(task, relevance)


TASK = Retrieval

"""The main job of a retrieval suite: every entry's index built and asked, what it found and cost kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from hengyu.base.remote import Unreachable
from hengyu.bench.context import RunContext
from hengyu.bench.encode import Vectors
from hengyu.bench.encoder_jobs import PreparedEncoder
from hengyu.bench.notes import UnitLog, note_fits, timing_key
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.pipeline import PipelineFitter
from hengyu.numerics.moments import Moments
from hengyu.storage.records.observations import Observation
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.plan import TaskData
from hengyu.tasks.retrieval import RetrievalVectors

__all__ = ["MADE_BY", "Cell", "search"]

Cell = tuple[SuiteEntry, dict[str, Any]]  # and the key of what is observed
MADE_BY = (RetrievalVectors.__module__, PipelineFitter.__module__)
"""The modules that a search is made by."""


def search(
    context: RunContext,
    log: UnitLog,
    job: PreparedEncoder,
    read: Vectors,
    pooling: str,
    task: TaskData,
    wanted: list[Cell],
    known: Mapping[str, Moments],
) -> list[Observation]:
    """Observe cells of one task, encoder and pooling; ``known`` are moments of what they are fitted on, where taken."""
    words = {context.plan.fit_word(spec) for spec, _ in wanted}
    vectors = _vectors(context, job, read, pooling, task, words, known)
    seen = []
    for spec, meaning in wanted:
        seen.append(_search(context, log, spec, meaning, vectors))
        log.tick(1)
    return seen


def _search(
    context: RunContext, log: UnitLog, spec: SuiteEntry, meaning: dict[str, Any], vectors: RetrievalVectors
) -> Observation:
    started = time.perf_counter()
    name, seed = str(spec.entry), meaning["seed_of_draw"]
    try:
        got = vectors.observe(spec.entry, meaning["fit_on"], seed, context.plan.glimpse(seed))
    except Unreachable:
        raise  # it says nothing of the cell
    except ValueError as e:
        return Observation.missed(meaning, (name,), e)
    finally:
        note_fits(log, meaning, vectors.fits)
    log.note_costs(timing_key(meaning, name), got.costs)
    near: dict[str, NDArray[Any]] = {"ids": got.ids, "ranks": got.ranks}
    clouds = None if got.cloud is None else {name: got.cloud}
    seen = Observation(meaning, (name,), (got.dim,), fit=got.fit, neighbours=near, index=got.sizes, clouds=clouds)
    return context.observations.save(seen, log, started)


def _vectors(
    context: RunContext,
    job: PreparedEncoder,
    read: Vectors,
    pooling: str,
    task: TaskData,
    words: set[str],
    known: Mapping[str, Moments],
) -> RetrievalVectors:
    """Read from the store, block by block, what the entries of one task need."""
    plan = context.plan
    relevance = plan.relevance[task.name]
    samples, rows = {}, {}
    for word in words - {"none"}:
        fit = job.fitted_on(plan.fits[task.name, word])
        samples[word], rows[word] = read.sample(pooling, fit), fit.digest
    fits = FitCache(context.fits, job.key(pooling), rows, context.progress, moments=known)
    corpus, queries = read.rows(pooling, relevance.corpus), (read.asking or read).rows(pooling, relevance.queries)
    return RetrievalVectors(corpus, queries, relevance, samples, fits)

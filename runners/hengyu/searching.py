"""The main job of a retrieval suite: every entry's index built and asked, what it found and cost kept."""

from __future__ import annotations

import time
from typing import Any

from numpy.typing import NDArray

from hengyu.costs import note_costs
from hengyu.errors import Degenerate
from hengyu.fits import Fits
from hengyu.jobs import Job
from hengyu.ledger import Ledger
from hengyu.observations import Observation
from hengyu.plan import PROTOCOL, Plan, TaskData
from hengyu.ranking import DEPTH
from hengyu.records import cell_key
from hengyu.suites import EntrySpec
from hengyu.tasks.retrieval import RetrievalVectors

__all__ = ["search_all"]


def search_all(state: Ledger, job: Job, pooling: str, task: TaskData) -> None:
    """Observe every entry of the suite at one task, encoder and pooling, in the suite's order."""
    plan = state.plan
    cells = [
        (spec, _meaning(plan, job, pooling, task, spec, seed))
        for spec in plan.suite.entries
        for seed in spec.draws(plan.suite.seed)
    ]
    found = [state.load(meaning) for _, meaning in cells]
    words = {plan.fit_word(spec) for (spec, _), done in zip(cells, found, strict=True) if done is None}
    vectors = _vectors(state, job, pooling, task, words) if words else None
    for (spec, meaning), done in zip(cells, found, strict=True):
        state.seen.append(done or _search(state, spec, meaning, vectors))
        state.tick(1)


def _search(state: Ledger, spec: EntrySpec, meaning: dict[str, Any], vectors: RetrievalVectors | None) -> Observation:
    assert vectors is not None
    started = time.perf_counter()
    name, seed = str(spec.entry), meaning["seed_of_draw"]
    try:
        got = vectors.observe(spec.entry, meaning["fit_on"], seed, state.plan.glimpse(seed))
    except Degenerate as e:
        return state.fail(meaning, [name], "degenerate", str(e))
    except ValueError as e:
        return state.fail(meaning, [name], "failed", str(e))
    finally:
        state.note_fits(meaning, vectors)
    row = (meaning["encoder"], meaning["pooling"], name, meaning["fit_on"])
    note_costs(state.folder, cell_key(meaning["task"], row, seed), got.costs)
    near: dict[str, NDArray[Any]] = {"ids": got.ids, "ranks": got.ranks}
    clouds = None if got.cloud is None else {name: got.cloud}
    seen = Observation(meaning, (name,), (got.dim,), fit=got.fit, neighbours=near, index=got.sizes, clouds=clouds)
    return state.keep(seen, started)


def _meaning(plan: Plan, job: Job, pooling: str, task: TaskData, spec: EntrySpec, seed: int | None) -> dict[str, Any]:
    word = plan.fit_word(spec)
    fit = plan.fits.get((task.name, word))
    return {
        "protocol": PROTOCOL,
        "kind": "retrieval",
        "depth": DEPTH,
        "task": task.name,
        "data": task.pairs.sha256,
        "labels": task.pairs.card.digest,
        "relevant": plan.suite.relevant,
        "seed": plan.suite.seed,
        "encoder": job.encoder.id,
        "identity": job.identity,
        "pooling": pooling,
        "entry": str(spec.entry),
        "seed_of_draw": seed,
        "fit_on": word,
        "fit_data": fit.digest if fit else "",
        "fit_splits": list(fit.splits) if fit else [],
    }


def _vectors(state: Ledger, job: Job, pooling: str, task: TaskData, words: set[str]) -> RetrievalVectors:
    """Read from the store, block by block, what the entries of one task need."""
    assert job.vectors is not None
    plan, read = state.plan, job.vectors
    relevance = plan.relevance[task.name]
    samples, rows = {}, {}
    for word in words - {"none"}:
        fit = plan.fits[task.name, word]
        samples[word], rows[word] = read.sample(pooling, fit), fit.digest
    fits = Fits(state.fits, {"identity": job.identity, "pooling": pooling}, rows, state.progress)
    corpus, queries = read.rows(pooling, relevance.corpus), read.rows(pooling, relevance.queries)
    return RetrievalVectors(corpus, queries, relevance, samples, fits)

"""The main job: encode once, observe every cell, derive the numbers; killed at any point, it continues."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hengyu.clock import Clock
from hengyu.clouds import save_clouds
from hengyu.derive import derive
from hengyu.encoders import find_encoder
from hengyu.encoders.lexical import baseline_cosines
from hengyu.encoding import encode_missing
from hengyu.environment import environment
from hengyu.errors import Degenerate, HengyuError
from hengyu.estimate import estimate, refuse_what_cannot_fit
from hengyu.fits import FitStore
from hengyu.header import header
from hengyu.jobs import Job, make_job, refuse_same_names
from hengyu.judged import save_relevance
from hengyu.ledger import Ledger
from hengyu.material import task_vectors, tuned_vectors
from hengyu.methods import find_method
from hengyu.observations import Observation, save_labels
from hengyu.plan import PROTOCOL, Plan, TaskData
from hengyu.progress import Progress, silent
from hengyu.records import save_records, write_json
from hengyu.retrieved import derive_retrieval
from hengyu.seal import break_seal, seal
from hengyu.searching import search_all
from hengyu.sources import sources
from hengyu.store import VectorStore
from hengyu.suites import EntrySpec
from hengyu.tasks.sts import StsVectors
from hengyu.tuned import TunedStore, Tuning

__all__ = ["Outcome", "run"]


@dataclass
class Outcome:
    """What a run left: its folder, and the sentences of the cells that failed."""

    folder: Path
    failures: list[str]
    encoded: int  # texts encoded in this run; 0 when the store held them all
    observed: int  # cells observed in this run
    kept: int  # cells found finished


def run(
    plan: Plan,
    *,
    reports: Path,
    store: VectorStore,
    fits: FitStore | None = None,
    tuned: TunedStore | None = None,
    progress: Progress = silent,
    force: bool = False,
    offline: bool = False,
    command: str = "",
    max_memory: int | None = None,
) -> Outcome:
    """Run a plan and write its folder ``reports/records/<run>``; returns what it left.

    Cells that an earlier, killed run of the same plan has finished are read back, unless ``force``. ``fits`` is where
    trained methods are kept, so that tasks and runs share them; without it they are trained where they are needed.
    ``tuned`` is where tuned encoders are kept, by default beside the vectors.
    Raises `HengyuError` before anything is encoded when it would hold more than ``max_memory`` bytes.
    """
    jobs = _jobs(plan, progress, offline)
    refuse_same_names(jobs)
    name = f"{plan.suite.name}-{plan.fingerprint({'id': j.encoder.id, **j.identity} for j in jobs)}"
    folder = reports / "records" / name
    clock = Clock(folder / "timings.json")
    state = Ledger(plan, folder, progress, force, clock, fits)
    progress.say(f"run {name}: {len(plan.tasks)} tasks, {len(plan.texts)} distinct texts, {len(jobs)} encoders")
    given = [j.encoder for j in jobs], [j.poolings for j in jobs]
    needed = estimate(plan, *given)
    progress.say(f"it takes {needed}")
    if max_memory is not None:
        refuse_what_cannot_fit(needed, max_memory, plan, *given)
    for job in jobs:
        started = time.perf_counter()
        job.vectors = encode_missing(store, job.encoder, plan.texts, job.poolings, progress)
        if job.vectors.encoded:
            clock.note(f"encode | {job.encoder.id}", time.perf_counter() - started)
        job.coverage = {t.name: job.vectors.coverage(t.ids) for t in plan.tasks}
        for pooling in job.poolings:
            job.dim = job.vectors.spaces[pooling].dim
    tuning = Tuning(tuned or TunedStore(store.root.parent / "tuned"), progress)
    draws = sum(len(spec.draws(plan.suite.seed)) for spec in plan.suite.entries)
    total = sum(len(j.poolings) for j in jobs) * draws * len(plan.tasks)
    with progress.stage("weighing", total) as tick:
        state.ticking = tick
        for job in jobs:
            for pooling in job.poolings:
                for task in plan.tasks:
                    _observe(state, store, tuning, job, pooling, task)
            for pooling, reason in job.unavailable.items():
                state.add_all(job.encoder.id, pooling, "unavailable", reason)
        for baseline in plan.suite.baselines:
            for task in plan.tasks:
                _observe_baseline(state, baseline, task)
    found = (derive_retrieval if plan.suite.kind == "retrieval" else derive)(plan, state.seen, progress)
    break_seal(folder)
    save_labels(folder, {t.name: t.pairs.labels for t in plan.tasks})
    if plan.relevance:
        save_relevance(folder, plan.relevance)
    save_records(folder, found.records, found.differences, found.standings)
    save_clouds(folder, state.seen, plan.suite.seed)
    write_json(folder / "run.json", header(plan, name, jobs, found))
    seal(folder)
    write_json(folder / "environment.json", environment(command))
    write_json(folder / "sources.json", sources(plan, [j.encoder for j in jobs]))
    clock.save()
    return Outcome(
        folder,
        list(dict.fromkeys(state.failures)),
        sum(j.vectors.encoded for j in jobs if j.vectors),
        state.observed,
        state.kept,
    )


def _jobs(plan: Plan, progress: Progress, offline: bool) -> list[Job]:
    """Open every encoder; a suite that runs what is at hand leaves out those that cannot be had, and says why."""
    jobs: list[Job] = []
    missing: list[str] = []
    for spec in plan.suite.encoders:
        try:
            jobs.append(make_job(plan, find_encoder(spec, offline=offline)))
        except HengyuError as e:
            if "encoders" not in plan.suite.partial:
                raise
            missing += e.problems
            plan.warnings.append(f"left out: encoder '{spec.model}', which could not be had where this ran")
    if missing and not jobs:
        raise HengyuError(*missing, f"{plan.suite.path}: none of its encoders is at hand; name one with --encoder")
    for problem in (*plan.left_out, *missing):
        progress.say(f"left out: {problem}")
    return jobs


def _about(plan: Plan, task: TaskData) -> dict[str, Any]:
    """What every observation of a task depends on."""
    beside = plan.thresholds.get(task.name)
    return {
        "protocol": PROTOCOL,
        "task": task.name,
        "data": task.pairs.sha256,
        "labels": task.pairs.card.digest,
        "threshold_data": beside.pairs.sha256 if beside else "",
        "seed": plan.suite.seed,
    }


def _meaning(plan: Plan, job: Job, pooling: str, task: TaskData, spec: EntrySpec, seed: int | None) -> dict[str, Any]:
    word = plan.fit_word(spec)
    fit = plan.fits.get((task.name, word))
    return {
        **_about(plan, task),
        "encoder": job.encoder.id,
        "identity": job.identity,
        "pooling": pooling,
        "entry": str(spec.entry),
        "seed_of_draw": seed,
        "dims": list(spec.dims) if spec.dims != "all" else "all",
        "fit_on": word,
        "fit_data": fit.digest if fit else "",
        "fit_splits": list(fit.splits) if fit else [],
        **_of_tuners(plan, task, spec),
    }


def _of_tuners(plan: Plan, task: TaskData, spec: EntrySpec) -> dict[str, Any]:
    """What an observation of a tuned encoder depends on beside."""
    if not spec.entry.tuners:
        return {}
    watched = plan.held.get(task.name)
    versions = [find_method(s.name).version for s in spec.entry.tuners]
    return {"tuners": versions, "watched": watched.pairs.sha256 if watched else ""}


def _observe(state: Ledger, store: VectorStore, tuning: Tuning, job: Job, pooling: str, task: TaskData) -> None:
    """Observe every entry of the suite at one task, encoder and pooling, in the suite's order."""
    plan = state.plan
    if plan.suite.kind == "retrieval":
        return search_all(state, job, pooling, task)
    cells = [
        (spec, _meaning(plan, job, pooling, task, spec, seed))
        for spec in plan.suite.entries
        for seed in spec.draws(plan.suite.seed)
    ]
    found = [state.load(meaning) for _, meaning in cells]
    plain = [spec for (spec, _), done in zip(cells, found, strict=True) if done is None and not spec.entry.tuners]
    assert job.vectors is not None
    words = {word for word in map(plan.fit_word, plain) if (task.name, word) not in plan.lacking}
    vectors = task_vectors(state, job.vectors, job.identity, pooling, task, words) if words else None

    def of(spec: EntrySpec, meaning: dict[str, Any]) -> StsVectors:
        """Return the vectors that an entry works on; those of a tuned encoder are its own."""
        if vectors is not None and not spec.entry.tuners:
            return vectors
        seed = meaning["seed_of_draw"]
        entry = spec.entry if seed is None else spec.entry.with_seed(seed)
        return tuned_vectors(state, store, tuning, job, pooling, task, entry, meaning["fit_on"])

    for (spec, meaning), done in zip(cells, found, strict=True):
        lacks = plan.lacking.get((task.name, meaning["fit_on"]), "")
        if lacks:
            state.seen.append(state.fail(meaning, spec.names, "unavailable", lacks))
            state.tick(1)
            continue
        seen = done or _observe_one(state, spec, meaning, of)
        wide = [state.fail(meaning, [name], "failed", reason) for name, reason in seen.too_wide.items()]
        state.seen += [seen, *wide]
        state.tick(1)


def _observe_one(
    state: Ledger, spec: EntrySpec, meaning: dict[str, Any], of: Callable[[EntrySpec, dict[str, Any]], StsVectors]
) -> Observation:
    """Observe an entry; a tuner that fails fails alone, and dims that the vectors do not have are named in what comes back."""
    started = time.perf_counter()
    vectors = None
    try:
        vectors = of(spec, meaning)
        seed = meaning["seed_of_draw"]
        got = vectors.observe(spec.entry, spec.dims, meaning["fit_on"], seed, state.plan.glimpse(seed))
    except Degenerate as e:
        return state.fail(meaning, spec.names, "degenerate", str(e))
    except ValueError as e:
        return state.fail(meaning, spec.names, "failed", str(e))
    finally:
        if vectors is not None:
            state.note_fits(meaning, vectors)
    found = (got.entries, got.dims, got.similarity, got.sweep, got.fit)
    return state.keep(
        Observation(meaning, *found, beside=got.beside, too_wide=got.too_wide, clouds=got.clouds), started
    )


def _observe_baseline(state: Ledger, name: str, task: TaskData) -> None:
    beside = state.plan.thresholds.get(task.name)
    meaning = {
        **_about(state.plan, task),
        "encoder": name,
        "pooling": "-",
        "entry": "raw",
        "fit_on": "target" if name == "tfidf" else "none",
    }
    done = state.load(meaning)
    if done:
        state.seen.append(done)
        return
    started = time.perf_counter()
    similarity, dim = baseline_cosines(name, task.pairs.first, task.pairs.second)
    other = baseline_cosines(name, beside.pairs.first, beside.pairs.second)[0][None] if beside else np.zeros((0, 0))
    # it leaves no vectors to look at
    seen = Observation(meaning, ("raw",), (dim,), similarity[None], beside=other, clouds={})
    state.seen.append(state.keep(seen, started))

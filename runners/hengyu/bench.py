"""The main job: encode once, observe every cell, derive the numbers; killed at any point, it continues."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hengyu.derive import derive
from hengyu.encoders import open_encoder
from hengyu.encoders.lexical import baseline_cosines
from hengyu.encoding import encode_missing
from hengyu.environment import environment
from hengyu.errors import Degenerate, HengyuError
from hengyu.header import header
from hengyu.jobs import Job, make_job, refuse_same_names
from hengyu.observations import Observation, load_observation, save_observation
from hengyu.plan import PROTOCOL, Plan, TaskData
from hengyu.progress import Progress, silent
from hengyu.records import cell_key, save_records, write_json
from hengyu.store import VectorStore
from hengyu.suites import EntrySpec
from hengyu.tasks.sts import StsVectors, restrict

__all__ = ["Outcome", "run"]

_SAVE_SECONDS = 10.0


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
    progress: Progress = silent,
    force: bool = False,
    offline: bool = False,
    command: str = "",
) -> Outcome:
    """Run a plan and write its folder ``reports/records/<run>``; returns what it left.

    Cells that an earlier, killed run of the same plan has finished are read back, unless ``force``.
    """
    jobs = [make_job(plan, open_encoder(spec, offline=offline)) for spec in plan.suite.encoders]
    refuse_same_names(jobs)
    name = f"{plan.suite.name}-{plan.fingerprint({'id': j.encoder.id, **j.identity} for j in jobs)}"
    folder = reports / "records" / name
    clock = _Clock(folder / "timings.json")
    state = _State(plan, folder, progress, force, clock)
    progress.say(f"run {name}: {len(plan.tasks)} tasks, {len(plan.texts)} distinct texts, {len(jobs)} encoders")
    for job in jobs:
        started = time.perf_counter()
        job.vectors = encode_missing(store, job.encoder, plan.texts, job.poolings, progress)
        if job.vectors.encoded:
            clock.note(f"encode | {job.encoder.id}", time.perf_counter() - started)
        job.coverage = {t.name: job.vectors.coverage(t.ids) for t in plan.tasks}
        for pooling in job.poolings:
            job.dim = job.vectors.spaces[pooling].dim
    total = sum(len(j.poolings) * len(plan.suite.entries) for j in jobs) * len(plan.tasks)
    with progress.stage("weighing", total) as tick:
        for job in jobs:
            for pooling in job.poolings:
                for task in plan.tasks:
                    _observe(state, job, pooling, task)
                    tick(state.observed + state.kept + len(state.failures))
            for pooling, reason in job.unavailable.items():
                state.add_all(job.encoder.id, pooling, "unavailable", reason)
        for baseline in plan.suite.baselines:
            for task in plan.tasks:
                _observe_baseline(state, baseline, task)
    records, fits = derive(plan, state.seen, progress)
    save_records(folder, records)
    write_json(folder / "run.json", header(plan, name, jobs, fits))
    write_json(folder / "environment.json", environment(command))
    clock.save()
    return Outcome(
        folder,
        list(dict.fromkeys(state.failures)),
        sum(j.vectors.encoded for j in jobs if j.vectors),
        state.observed,
        state.kept,
    )


class _Clock:
    """Seconds by cell; those of cells found finished stay as they were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved = time.monotonic()
        self.seconds: dict[str, float] = {}
        try:
            self.seconds = dict(json.loads(path.read_bytes())["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            self.seconds = {}

    def note(self, key: str, seconds: float) -> None:
        self.seconds[key] = round(seconds, 6)
        if time.monotonic() - self.saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        write_json(self.path, {"seconds": self.seconds})
        self.saved = time.monotonic()


@dataclass
class _State:
    """What a run has seen so far."""

    plan: Plan
    folder: Path
    progress: Progress
    force: bool
    clock: _Clock
    seen: list[Observation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    observed: int = 0
    kept: int = 0

    @property
    def observations(self) -> Path:
        return self.folder / "observations"

    def load(self, meaning: dict[str, Any]) -> Observation | None:
        """Return a finished observation; a damaged one is told of and made again."""
        if self.force:
            return None
        try:
            found = load_observation(self.observations, meaning)
        except HengyuError as e:
            self.progress.say(f"warning: {e}; made again now")
            return None
        self.kept += found is not None
        return found

    def keep(self, observation: Observation, started: float) -> Observation:
        """Save an observation and note its seconds."""
        save_observation(self.observations, observation)
        self.observed += 1
        seconds = (time.perf_counter() - started) / max(len(observation.dims), 1)
        m = observation.meaning
        for entry in observation.entries:
            self.clock.note(cell_key(m["task"], (m["encoder"], m["pooling"], entry, m["fit_on"])), seconds)
        return observation

    def fail(self, meaning: dict[str, Any], entries: Sequence[str], status: str, reason: str) -> Observation:
        """Return an observation that says why there is none."""
        if status == "failed":
            where = f"{self.plan.suite.path}: entry '{meaning['entry']}'"
            self.failures.append(f"{where} failed for {meaning['encoder']}, {meaning['pooling']}: {reason}")
        return Observation(meaning, tuple(entries), status=status, reason=reason)

    def add_all(self, encoder: str, pooling: str, status: str, reason: str) -> None:
        """Note the same for every task; one row, not one an entry."""
        for task in self.plan.tasks:
            about = {"task": task.name, "encoder": encoder, "pooling": pooling, "entry": "raw", "fit_on": "none"}
            self.seen.append(Observation(about, ("raw",), status=status, reason=reason))


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


def _meaning(plan: Plan, job: Job, pooling: str, task: TaskData, spec: EntrySpec) -> dict[str, Any]:
    word = plan.fit_word(spec)
    fit = plan.fits.get((task.name, word))
    return {
        **_about(plan, task),
        "encoder": job.encoder.id,
        "identity": job.identity,
        "pooling": pooling,
        "entry": str(spec.entry),
        "dims": list(spec.dims) if spec.dims != "all" else "all",
        "fit_on": word,
        "fit_data": fit.digest if fit else "",
        "fit_splits": list(fit.splits) if fit else [],
    }


def _observe(state: _State, job: Job, pooling: str, task: TaskData) -> None:
    """Observe every entry of the suite at one task, encoder and pooling, in the suite's order."""
    plan = state.plan
    cells = [(spec, _meaning(plan, job, pooling, task, spec)) for spec in plan.suite.entries]
    found = [state.load(meaning) for _, meaning in cells]
    words = {plan.fit_word(spec) for (spec, _), done in zip(cells, found, strict=True) if done is None}
    vectors = _vectors(plan, job, pooling, task, words) if words else None
    for (spec, meaning), done in zip(cells, found, strict=True):
        state.seen.append(done or _observe_one(state, spec, meaning, vectors))


def _observe_one(state: _State, spec: EntrySpec, meaning: dict[str, Any], vectors: StsVectors | None) -> Observation:
    assert vectors is not None
    started = time.perf_counter()
    dims = () if spec.dims == "all" else spec.dims
    names = [str(spec.entry.with_dim(d)) for d in dims] or [str(spec.entry)]
    try:
        seen = vectors.observe(spec.entry, spec.dims, meaning["fit_on"])
    except Degenerate as e:
        return state.fail(meaning, names, "degenerate", str(e))
    except ValueError as e:
        return state.fail(meaning, names, "failed", str(e))
    full = Observation(meaning, seen.entries, seen.dims, seen.similarity, seen.sweep, seen.fit, beside=seen.beside)
    return state.keep(full, started)


def _vectors(plan: Plan, job: Job, pooling: str, task: TaskData, words: set[str]) -> StsVectors:
    """Read from the store what the entries of one task need."""
    assert job.vectors is not None
    read = job.vectors
    ids, (first, second) = restrict([task.first, task.second])
    x = read.get(pooling, ids)
    fit_rows, fit_counts = {}, {}
    for word in words - {"none"}:
        fit = plan.fits[task.name, word]
        fit_rows[word] = x if np.array_equal(fit.ids, ids) else read.get(pooling, fit.ids)
        fit_counts[word] = fit.counts
    other = None
    beside = plan.thresholds.get(task.name)
    if beside:
        other_ids, (a, b) = restrict([beside.first, beside.second])
        other = (read.get(pooling, other_ids), a, b)
    return StsVectors(x, first, second, fit_rows, fit_counts, task.pairs.labels, other)


def _observe_baseline(state: _State, name: str, task: TaskData) -> None:
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
    state.seen.append(state.keep(Observation(meaning, ("raw",), (dim,), similarity[None], beside=other), started))

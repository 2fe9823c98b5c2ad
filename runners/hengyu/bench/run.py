"""The main job: encode once, observe every cell, derive the numbers; killed at any point, it continues."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.environment import environment
from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Mirror
from hengyu.bench.encode_shards import encode_all
from hengyu.bench.encoder_jobs import PreparedEncoder, prepare_encoder, refuse_same_names
from hengyu.bench.estimate import estimate, refuse_what_cannot_fit
from hengyu.bench.executors.local import Local
from hengyu.bench.header import header
from hengyu.bench.observe import observe_all
from hengyu.bench.run_log import RunLog
from hengyu.bench.sources import sources
from hengyu.bench.units import Executor, WorkerContext
from hengyu.encoders import find_encoder
from hengyu.evaluation.blocks import pair_groups
from hengyu.evaluation.derive import derive
from hengyu.evaluation.derive_retrieval import derive_retrieval
from hengyu.evaluation.relevance_file import save_relevance
from hengyu.methods.fit_cache import FitStore
from hengyu.methods.training.cache import TunedEncoderCache, TunedStore
from hengyu.storage.records import save_records, write_json
from hengyu.storage.records.checksums import break_seal, seal
from hengyu.storage.records.clouds import save_clouds
from hengyu.storage.records.observations import save_labels
from hengyu.storage.records.unfinished import mark_finished, mark_started
from hengyu.storage.timings import Clock
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan

__all__ = ["Outcome", "run"]

_LOCAL = Local()


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
    executor: Executor = _LOCAL,
    mirror: Mirror | None = None,
) -> Outcome:
    """Run a plan and write its folder ``reports/records/<run>``; returns what it left.

    Cells that an earlier, killed run of the same plan has finished are read back, unless ``force``. ``fits`` is where
    trained methods are kept, so that tasks and runs share them; without it they are trained where they are needed.
    ``tuned`` is where tuned encoders are kept, by default beside the vectors. ``executor`` does the work. ``mirror`` is what
    the folder ``reports`` stands for: what is there is fetched first, what is new is sent as it is finished.
    Raises `HengyuError` before anything is encoded when it would hold more than ``max_memory`` bytes.
    """
    jobs = _jobs(plan, progress, offline)
    refuse_same_names(jobs)
    name = f"{plan.suite.name}-{plan.fingerprint({'id': j.encoder.id, **j.identity} for j in jobs)}"
    folder = reports / "records" / name
    away = mirror.below("records", name) if mirror else None
    if away:
        away.exchange(folder, "observations")
    clock = Clock(folder / "timings.json")
    state = RunLog(plan, folder, progress, force, clock, fits, mirror=away)
    progress.say(f"run {name}: {len(plan.tasks)} tasks, {len(plan.texts)} distinct texts, {len(jobs)} encoders")
    given = [j.encoder for j in jobs], [j.poolings for j in jobs]
    needed = estimate(plan, *given)
    progress.say(f"it takes {needed}")
    if max_memory is not None:
        refuse_what_cannot_fit(needed, max_memory, plan, *given)
    mark_started(folder)
    tuning = TunedEncoderCache(tuned or TunedStore.beside(store), progress)
    site = WorkerContext(plan, jobs, store, tuning, state, offline)
    for number, job in enumerate(jobs):
        started = time.perf_counter()
        job.vectors = encode_all(executor, site, number)
        if job.vectors.encoded:
            clock.note(f"encode | {job.encoder.id}", time.perf_counter() - started)
        job.coverage = {t.name: job.vectors.coverage(t.ids) for t in plan.tasks}
        for pooling in job.poolings:
            job.dim = job.vectors.spaces[pooling].dim
    under = [spec for job in jobs for pooling in job.poolings for spec in plan.suite.under(job.encoder.id, pooling)]
    total = sum(len(spec.draws(plan.suite.seed)) for spec in under) * len(plan.tasks)
    with progress.stage("weighing", total) as tick:
        state.ticking = tick
        observe_all(executor, site)
    found = (derive_retrieval if plan.suite.kind == "retrieval" else derive)(plan, state.seen, progress)
    break_seal(folder)
    groups = {} if plan.relevance else {t.name: pair_groups(t.first, t.second) for t in plan.tasks}
    save_labels(folder, {t.name: t.pairs.labels for t in plan.tasks}, groups)
    if plan.relevance:
        save_relevance(folder, plan.relevance)
    save_records(folder, found.records, found.differences, found.standings)
    save_clouds(folder, state.seen, plan.suite.seed)
    write_json(folder / "run.json", header(plan, name, jobs, found))
    seal(folder)
    write_json(folder / "environment.json", environment(command))
    write_json(folder / "sources.json", sources(plan, [j.encoder for j in jobs]))
    clock.save()
    mark_finished(folder)
    if away:  # the seal comes last
        away.send(
            folder, sorted((p.name for p in folder.glob("[!.]*") if p.is_file()), key=lambda n: (n == "sums.json", n))
        )
    return Outcome(
        folder,
        list(dict.fromkeys(state.failures)),
        sum(j.vectors.encoded for j in jobs if j.vectors),
        state.observed,
        state.kept,
    )


def _jobs(plan: Plan, progress: Progress, offline: bool) -> list[PreparedEncoder]:
    """Open every encoder; a suite that runs what is at hand leaves out those that cannot be had, and says why."""
    jobs: list[PreparedEncoder] = []
    missing: list[str] = []
    for spec in plan.suite.encoders:
        try:
            jobs.append(prepare_encoder(plan, find_encoder(spec, offline=offline)))
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

"""The main job: encode once, observe every cell, derive the numbers; killed at any point, it continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from hengyu.base.bounded import read_bytes
from hengyu.base.environment import begin, environment
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import parse
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Mirror
from hengyu.bench.encode import Vectors, look_before
from hengyu.bench.encode_shards import encode_all
from hengyu.bench.encoder_jobs import PreparedEncoder, absent_job, data_key, prepare_encoder, refuse_same_names
from hengyu.bench.estimate import estimate, refuse_what_cannot_fit
from hengyu.bench.executors.local import Local
from hengyu.bench.header import header
from hengyu.bench.observe import every_key, observe_all
from hengyu.bench.prompts import say_prompts
from hengyu.bench.run_log import RunLog
from hengyu.bench.score_pairs import Scorer, open_scorers, score_all, scorer_keys
from hengyu.bench.sources import sources
from hengyu.bench.units import Executor, WorkerContext
from hengyu.encoders import SIDES, Encoder, EncoderFailed, find_encoder
from hengyu.evaluation.blocks import pair_groups
from hengyu.evaluation.derive import derive
from hengyu.evaluation.derive_retrieval import derive_retrieval
from hengyu.evaluation.relevance_file import save_relevance
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import cell, made_by, run_key
from hengyu.storage.records import save_records, write_json
from hengyu.storage.records.checksums import break_seal, broken_seals, seal
from hengyu.storage.records.clouds import save_clouds
from hengyu.storage.records.observations import save_labels
from hengyu.storage.records.unfinished import mark_finished, mark_started
from hengyu.storage.timings import Clock
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan, SearchData, TaskData

__all__ = ["DERIVED_BY", "DERIVED_IN", "Outcome", "refuse_other_plan", "run", "run_key_of"]

T = TypeVar("T")
_LOCAL = Local()
_DIGITS = 16  # of the key, in the name of a run's folder
DERIVED_BY = (derive.__module__, derive_retrieval.__module__)
DERIVED_IN = (
    "hengyu.evaluation",
    "hengyu.numerics",
    "hengyu.tasks.ranking",
)  # what else they import makes no number of an observation
_LOOKED_AT = 4096  # texts that are tokenised before any encoder starts


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
    jobs = _jobs(plan, progress, offline, store)
    scorers = open_scorers(plan, offline=offline)
    refuse_same_names([*(j.encoder.id for j in jobs), *(s.id for s in scorers)])
    for scorer in scorers:
        if scorer.reason:
            progress.say(f"warning: {scorer.reason}; its rows give the reason")
    key = run_key_of(plan, jobs, scorers)
    name = f"{plan.suite.name}-{key[:_DIGITS]}"
    folder = reports / "records" / name
    refuse_other_plan(folder, key)
    away = mirror.below("records", name) if mirror else None
    if away:
        away.exchange(folder, "observations")
    clock = Clock(folder / "timings.json")
    state = RunLog(plan, folder, progress, force, clock, fits, mirror=away)
    earlier = begin(folder / "environment.json", command)
    for job in jobs:
        if job.poolings and (said := say_prompts(plan, job)):
            progress.say(said)
    progress.say(f"run {name}: {len(plan.tasks)} tasks, {len(plan.texts)} distinct texts, {len(jobs)} encoders")
    for job in jobs:
        if job.poolings:
            _try(job, partial(look_before, job.encoder, _some(plan.texts)), progress)
        if job.poolings and job.asking:
            _try(job, partial(look_before, job.asking, _some(plan.texts)), progress)
    given = [j.encoder for j in jobs if j.poolings], [j.poolings for j in jobs if j.poolings]
    needed = estimate(plan, *given, sided=[j.encoder.id for j in jobs if j.asking])
    progress.say(f"it takes {needed}")
    if max_memory is not None:
        refuse_what_cannot_fit(needed, max_memory, plan, *given)
    mark_started(folder)
    tuning = TunedEncoderCache(tuned or TunedStore.beside(store), progress)
    site = WorkerContext(plan, jobs, store, tuning, state, offline)
    for number, job in enumerate(jobs):
        started = time.perf_counter()
        while job.poolings and job.vectors is None:
            job.vectors = _try(job, partial(encode_all, executor, site, number), progress)
        if job.vectors is None:
            continue
        if spent := job.encoder.spent():
            progress.say(spent)
        if job.vectors.encoded:
            clock.note(cell("encode", job.encoder.id), time.perf_counter() - started)
        job.coverage = {t.name: _coverage(job.vectors, t) for t in plan.tasks}
        for pooling in job.poolings:
            job.dim = job.vectors.spaces[pooling].dim
    under = [spec for job in jobs for pooling in job.poolings for spec in plan.suite.under(job.encoder.id, pooling)]
    total = sum(len(spec.draws(plan.suite.seed)) for spec in under) * len(plan.tasks)
    with progress.stage("weighing", total) as tick:
        state.ticking = tick
        observe_all(executor, site)
    score_all(state, scorers)
    found = (derive_retrieval if plan.suite.kind == "retrieval" else derive)(plan, state.seen, progress)
    break_seal(folder)
    groups = {} if plan.relevance else {t.name: pair_groups(t.first, t.second) for t in plan.tasks}
    save_labels(folder, {t.name: t.pairs.labels for t in plan.tasks}, groups)
    if plan.relevance:
        save_relevance(folder, plan.relevance)
    save_records(folder, found.records, found.differences, found.standings)
    save_clouds(folder, state.seen, plan.suite.seed)
    write_json(folder / "run.json", header(plan, name, key, jobs, found, scorers))
    seal(folder)
    write_json(folder / "environment.json", environment(command, earlier if state.kept else ()))
    write_json(folder / "sources.json", sources(plan, [j.encoder for j in jobs]))
    clock.save()
    mark_finished(folder)
    if away:  # the seal comes last
        away.send(
            folder, sorted((p.name for p in folder.glob("[!.]*") if p.is_file()), key=lambda n: (n == "sums.json", n))
        )
    broken = [problem for job in jobs for problem in job.problems]
    return Outcome(
        folder,
        list(dict.fromkeys([*broken, *state.failures])),
        sum(j.vectors.encoded for j in jobs if j.vectors),
        state.observed,
        state.kept,
    )


def run_key_of(plan: Plan, jobs: Sequence[PreparedEncoder], scorers: Sequence[Scorer] = ()) -> str:
    """Return the digest of everything that the numbers of a run depend on."""
    suite = plan.suite
    return run_key(
        tasks=[{"task": t.name, **data_key(plan, t)} for t in plan.tasks],
        cells=chain(every_key(plan, jobs), scorer_keys(plan, scorers)),
        judged={
            "kind": suite.kind,
            "encoders": [[j.encoder.id, j.poolings, j.unavailable, j.failed] for j in jobs],
            "entries": [str(e.entry) for e in suite.entries],
            "baselines": list(suite.baselines),
            "compare": [list(pair) for pair in suite.compare],
            "aggregate": suite.aggregate,
            "seed": suite.seed,
            "resamples": suite.resamples,
            "level": suite.level,
            **({"cross_encoders": [[s.id, s.reason] for s in scorers]} if scorers else {}),
        },
        made=made_by(*DERIVED_BY, within=DERIVED_IN),
    )


def refuse_other_plan(folder: Path, key: str) -> None:
    """Raise `HengyuError` where a folder holds the finished run of another plan; one that has changed since is made again."""
    try:
        other = parse(read_bytes(folder / "run.json"))
    except (OSError, ValueError):
        return
    if broken_seals(folder) or not isinstance(other, dict) or other.get("key") == key:
        return
    raise HengyuError(
        f"{folder / 'run.json'}: is of another plan (key {str(other.get('key'))[:12]}..., not {key[:12]}...); "
        "move the folder away, or give another --out"
    )


def _try(job: PreparedEncoder, do: Callable[[], T], progress: Progress) -> T | None:
    """Do what needs an encoder; where the encoder fails, its poolings become rows with the reason, and None is returned."""
    try:
        return do()
    except EncoderFailed as e:
        said = set(job.problems)
        job.give_up(e)
        job.encoder.release()
        for problem in job.problems:
            if problem not in said:
                progress.say(f"warning: {problem}; its rows give the reason")
        return None


def _prepare(plan: Plan, encoder: Encoder, store: VectorStore, progress: Progress) -> None:
    """Let an encoder find out which model answers, before its vectors are looked for."""
    if not encoder.hosted:
        return
    asked, searched = (encoder.spec.prompt_of(side) or "" for side in SIDES)
    if plan.suite.kind == "retrieval" and asked != searched:
        texts, queries = plan.select(plan.texts_of("document")), plan.select(plan.texts_of("query"))
        encoder.prepare(store, texts, progress, queries)
    else:
        encoder.prepare(store, plan.texts, progress)


def _coverage(vectors: Vectors, task: TaskData) -> dict[str, float]:
    """Return what an encoder read of a task's texts, of its queries as they were encoded."""
    if vectors.asking is not None and isinstance(task, SearchData):
        return vectors.coverage(task.corpus, task.queries)
    return vectors.coverage(task.ids)


def _some(texts: Sequence[str]) -> list[str]:
    """Return texts evenly spaced over all, enough to tell whether a model can read them."""
    return [*texts[:: max(1, len(texts) // _LOOKED_AT)]]


def _jobs(plan: Plan, progress: Progress, offline: bool, store: VectorStore) -> list[PreparedEncoder]:
    """Open every encoder; a suite that runs what is at hand leaves out those that cannot be had, and says why."""
    jobs: list[PreparedEncoder] = []
    missing: list[str] = []
    failed: list[HengyuError] = []
    for spec in plan.suite.encoders:
        try:
            encoder = find_encoder(spec, offline=offline)
            _prepare(plan, encoder, store, progress)
            jobs.append(prepare_encoder(plan, encoder))
        except HengyuError as e:
            if "encoders" not in plan.suite.partial:
                failed.append(e)
                jobs.append(absent_job(plan, spec, e))
                continue
            missing += e.problems
            plan.warnings.append(f"left out: encoder '{spec.model}', which could not be had where this ran")
    if failed and len(failed) == len(jobs):
        raise HengyuError(*dict.fromkeys(p for e in failed for p in e.problems))
    for problem in dict.fromkeys(p for e in failed for p in e.problems):
        progress.say(f"warning: {problem}; its rows give the reason")
    if missing and not jobs:
        raise HengyuError(*missing, f"{plan.suite.path}: none of its encoders is at hand; name one with --encoder")
    for problem in (*plan.left_out, *missing):
        progress.say(f"left out: {problem}")
    return jobs

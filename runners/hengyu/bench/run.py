"""The main job: encode once, observe every cell, derive the numbers; killed at any point, it continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hengyu.base.environment import begin, environment
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import find_json
from hengyu.base.progress import Progress, silent
from hengyu.base.remote import Mirror
from hengyu.bench.context import RunContext
from hengyu.bench.estimate import Estimate, estimate, refuse_what_cannot_fit
from hengyu.bench.executors.local import Local
from hengyu.bench.header import header
from hengyu.bench.observations import ObservationStore
from hengyu.bench.observe import every_key, observe_all
from hengyu.bench.prepare import encode_each, look_at, prepare_encoders
from hengyu.bench.prepared_encoder import PreparedEncoder, data_key, refuse_same_names
from hengyu.bench.prompts import say_prompts
from hengyu.bench.results import ResultLog
from hengyu.bench.score_pairs import Scorer, open_scorers, score_all, scorer_keys
from hengyu.bench.sources import sources
from hengyu.bench.units import Executor
from hengyu.encoders import SIDES
from hengyu.evaluation.derive import Derived, derive, fits_seen
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import made_by, run_key
from hengyu.storage.records import load_numbers, save_records, write_json
from hengyu.storage.records.checksums import break_seal, broken_seals, seal
from hengyu.storage.records.clouds import save_clouds
from hengyu.storage.records.schemas import Header
from hengyu.storage.records.unfinished import mark_finished, mark_started
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import Plan
from hengyu.suites.suite import LEXICAL

__all__ = ["DERIVED_BY", "DERIVED_IN", "Outcome", "refuse_other_plan", "run", "run_key_of"]

_LOCAL = Local()
_DIGITS = 16  # of the key, in the name of a run's folder
DERIVED_BY = (derive.__module__,)  # and the modules of the kind of task
DERIVED_IN = ("hengyu.evaluation", "hengyu.numerics", "hengyu.tasks")  # what else they import makes no number


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
    prepared, left_out = prepare_encoders(plan, store, progress, offline=offline)
    scorers = open_scorers(plan, progress, offline=offline)
    own = [LEXICAL] if plan.suite.task_kind.index and plan.suite.baselines else []
    refuse_same_names([*(e.encoder.id for e in prepared), *(s.id for s in scorers), *own])
    key = run_key_of(plan, prepared, scorers)
    folder = reports / "records" / f"{plan.suite.name}-{key[:_DIGITS]}"
    refuse_other_plan(folder, key)
    run_mirror = mirror.below("records", folder.name) if mirror else None
    if run_mirror:
        run_mirror.exchange(folder, "observations")
    earlier = begin(folder / "environment.json", command)
    _introduce(plan, folder.name, prepared, progress)
    prepared = look_at(prepared, plan.texts, store, progress)
    needed = _estimate(plan, prepared, max_memory, progress)
    mark_started(folder)
    context = RunContext(
        plan=plan,
        encoders=tuple(prepared),
        store=store,
        texts=plan.texts,
        sides={side: plan.texts_of(side) for side in SIDES} if any(e.asking for e in prepared) else {},
        fits=fits,
        tuning=TunedEncoderCache(tuned or TunedStore.next_to(store), progress),
        observations=ObservationStore(folder, run_mirror, force, progress, plan.suite.task_kind.costs),
        progress=progress,
        offline=offline,
        memory=needed.worker,
        spare=None if max_memory is None else max_memory - needed.memory,
    )
    log = ResultLog.of(folder)
    encoded = encode_each(executor, context, log)
    observe_all(executor, context, encoded, log)
    score_all(context, scorers, log)
    found = _derive(context, log, key)
    about = header(plan, folder.name, key, encoded, fits_seen(log.seen), scorers, left_out)
    _write(context, found, log, about)
    write_json(folder / "environment.json", environment(command, earlier if log.kept else ()))
    write_json(folder / "sources.json", sources(plan, [e.encoder for e in encoded]))
    mark_finished(folder)
    if run_mirror:
        _send(folder, run_mirror)
    broken = [problem for e in encoded for problem in e.prepared.problems]
    texts = sum(e.vectors.encoded for e in encoded if e.vectors)
    return Outcome(folder, list(dict.fromkeys([*broken, *log.failures])), texts, log.observed, log.kept)


def _introduce(plan: Plan, name: str, encoders: Sequence[PreparedEncoder], progress: Progress) -> None:
    """Say what is about to be run."""
    for encoder in encoders:
        if encoder.poolings and (said := say_prompts(plan, encoder)):
            progress.say(said)
    parts = ((len(plan.tasks), "task"), (len(plan.texts), "distinct text"), (len(encoders), "encoder"))
    progress.say(f"run {name}: {', '.join(f'{n} {word}' if n == 1 else f'{n:,} {word}s' for n, word in parts)}")


def _estimate(plan: Plan, encoders: Sequence[PreparedEncoder], limit: int | None, progress: Progress) -> Estimate:
    """Say what a run will take; raises `HengyuError` where that is more memory than it may hold."""
    given = [e.encoder for e in encoders if e.poolings], [e.poolings for e in encoders if e.poolings]
    needed = estimate(plan, *given, sided=[e.encoder.id for e in encoders if e.asking])
    progress.say(f"it takes {needed}")
    if limit is not None:
        refuse_what_cannot_fit(needed, limit, plan, *given)
    return needed


def _derive(context: RunContext, log: ResultLog, key: str) -> Derived:
    """Return the numbers that follow from what was seen, which is read back from disk task by task.

    They depend on nothing but the run's key, so those of a finished run under the same key are taken as they are.
    """
    if not (log.observed or log.failures) and (numbers := load_numbers(log.folder, key)):
        records, between, stands = numbers
        return Derived(list(records), list(between), list(stands))
    return derive(context.plan, lambda task: context.observations.read_back(log.of_task(task)), context.progress)


def _write(context: RunContext, found: Derived, log: ResultLog, about: dict[str, Any]) -> None:
    """Write what a run has found, and seal it; ``about`` is its header."""
    plan, folder = context.plan, log.folder
    break_seal(folder)
    plan.suite.task_kind.save(folder, plan.tasks, plan.truths)
    save_records(folder, found.records, found.differences, found.standings)
    save_clouds(folder, log.seen, plan.suite.seed)
    write_json(folder / "run.json", about)
    seal(folder)
    log.clock.save()


def _send(folder: Path, mirror: Mirror) -> None:
    """Send a run's files to where its folder stands for; the seal comes last."""
    names = sorted(p.name for p in folder.glob("[!.]*") if p.is_file())
    mirror.send(folder, sorted(names, key=lambda name: name == "sums.json"))


def run_key_of(plan: Plan, encoders: Sequence[PreparedEncoder], scorers: Sequence[Scorer] = ()) -> str:
    """Return the digest of everything that the numbers of a run depend on."""
    suite = plan.suite
    return run_key(
        tasks=[{"task": t.name, **data_key(plan, t)} for t in plan.tasks],
        cells=chain(every_key(plan, encoders), scorer_keys(plan, scorers)),
        judged={
            "kind": suite.kind,
            "encoders": [[e.encoder.id, e.poolings, e.unavailable, e.failed] for e in encoders],
            "entries": [str(e.entry) for e in suite.entries],
            "baselines": list(suite.baselines),
            "compare": [list(pair) for pair in suite.compared],
            "aggregate": suite.aggregate,
            "seed": suite.seed,
            "resamples": suite.resamples,
            "level": suite.level,
            **({"cross_encoders": [[s.id, s.reason] for s in scorers]} if scorers else {}),
        },
        made=made_by(*DERIVED_BY, *suite.task_kind.deriving_code(), within=DERIVED_IN),
    )


def refuse_other_plan(folder: Path, key: str) -> None:
    """Raise `HengyuError` where a folder holds the finished run of another plan; one that has changed since is made again."""
    other = find_json(folder / "run.json", Header)
    if other is None or other.key == key or broken_seals(folder):
        return
    raise HengyuError(
        f"{folder / 'run.json'}: is of another plan (key {other.key[:12] or 'unknown'}..., not {key[:12]}...); "
        "move the folder away, or give another --out"
    )

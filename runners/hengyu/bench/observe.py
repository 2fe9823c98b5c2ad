"""Every cell of a suite: read back where a run has finished it before, or observed as a unit of work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from hengyu.base.errors import Degenerate
from hengyu.base.remote import Unreachable
from hengyu.bench.context import RunContext
from hengyu.bench.encode import Vectors
from hengyu.bench.notes import UnitLog, note_fits, timing_key
from hengyu.bench.observations import ObservationStore
from hengyu.bench.prepared_encoder import EncodedEncoder, PreparedEncoder, data_key, observed_key
from hengyu.bench.results import ResultLog
from hengyu.bench.score_pairs import pair_scores
from hengyu.bench.task_inputs import TextInputs, task_inputs, tuned_inputs, tuned_scorer
from hengyu.bench.units import Executor, OrdinaryUnit, WorkUnit
from hengyu.encoders.lexical import baseline_cosines, baseline_digest
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.fitted import SampleTransform
from hengyu.methods.grammar import parse_entry
from hengyu.methods.pipeline import PipelineFitter
from hengyu.methods.training.tuner import Tuner
from hengyu.numerics.moments import LEAF, Moments, tree
from hengyu.storage.identity import digest, made_by, observation_key
from hengyu.storage.records.observations import Observation
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.plan import Plan
from hengyu.suites.suite import LEXICAL
from hengyu.tasks.interface.data import TaskData

__all__ = ["Observe", "every_key", "observe_all"]

_FITTED_BY = PipelineFitter.__module__
# what they import is of the plan, whose results are digested
_ALONE = (__name__, task_inputs.__module__, Vectors.__module__, pair_scores.__module__)
Cell = tuple[SuiteEntry, dict[str, Any]]  # and the key of what is observed
_MANY = 4  # leaves from which on the moments of a fit are worth a unit each


def cells(plan: Plan, prepared: PreparedEncoder, pooling: str, task: TaskData) -> list[Cell]:
    """Return the cells of one task, encoder and pooling, in the suite's order."""
    whole, alone = plan.suite.task_kind.observing_code()
    made = made_by(*whole, _FITTED_BY, alone=(*_ALONE, *alone))
    return [
        (spec, observed_key(plan, prepared, pooling, task, spec, seed, made))
        for spec in plan.suite.entries_for(prepared.encoder.id, pooling)
        for seed in spec.seeds_under(plan.suite.seed)
    ]


def every_key(plan: Plan, encoders: Sequence[PreparedEncoder]) -> Iterator[dict[str, Any]]:
    """Yield the key of everything that a run observes."""
    for prepared in encoders:
        for pooling in prepared.poolings:
            for task in plan.tasks:
                yield from (key for _, key in cells(plan, prepared, pooling, task))
    for name in plan.suite.baselines:
        yield from (baseline_key(plan, name, task) for task in plan.tasks)


@dataclass(frozen=True)
class Observe(OrdinaryUnit):
    """The cells of one task under one encoder and pooling that have not been observed yet.

    Attributes:
        encoder: the number of the encoder.
        task: the number of the task.
        missing: which of its `cells`.
        moments: fit_on word -> those of its rows, where many workers have taken them before.
    """

    encoder: int
    pooling: str
    task: int
    missing: tuple[int, ...]
    weight: int
    trains: bool
    long: bool = False
    timed: bool = False
    sole: bool = False
    makes: frozenset[str] = frozenset()
    moments: Mapping[str, Moments] = field(default_factory=dict)

    def __call__(self, context: RunContext, log: UnitLog) -> list[Observation]:
        """Observe them, and return what was seen of each."""
        prepared, task = context.encoders[self.encoder], context.plan.tasks[self.task]
        read = context.vectors(self.encoder)
        every = cells(context.plan, prepared, self.pooling, task)
        wanted = [every[i] for i in self.missing]
        # a worker that died may have seen some of them
        done = [context.observations.load(cache_key) if context.is_worker else None for _, cache_key in wanted]
        rest = [cell for cell, found in zip(wanted, done, strict=True) if found is None]
        new = iter(_observe(context, log, prepared, read, self.pooling, task, rest, self.moments) if rest else ())
        return [found or next(new) for found in done]


@dataclass(frozen=True)
class Leaf(OrdinaryUnit):
    """The moments of `LEAF` rows of what is fitted on, in a fit of many."""

    encoder: int
    pooling: str
    of: tuple[str, str]  # task and fit_on word
    start: int
    weight: int = LEAF
    trains: bool = False

    def __call__(self, context: RunContext, log: UnitLog) -> Moments:
        """Take them."""
        fit = context.encoders[self.encoder].fitted_on(context.plan.fits[self.of])
        sample = context.vectors(self.encoder).sample(self.pooling, fit)
        return Moments.of(sample.part(self.start, self.start + LEAF))


@dataclass(frozen=True)
class ObserveText(OrdinaryUnit):
    """Unit: what is observed of one task without an encoder: a baseline of pairs, or an entry of lexical search."""

    name: str
    task: int
    cache_key: Mapping[str, Any]
    weight: int = 0
    trains: bool = False
    timed: bool = False

    def __call__(self, context: RunContext, log: UnitLog) -> list[Observation]:
        """Observe it."""
        plan = context.plan
        task, kind, cache_key = plan.tasks[self.task], plan.suite.task_kind, dict(self.cache_key)
        started = time.perf_counter()
        try:
            found, costs = (_search_texts if kind.index else _compare_texts)(plan, self.name, task, cache_key)
        except ValueError as e:
            return [Observation.missed(cache_key, (self.name,), e)]
        if costs:
            log.note_costs(timing_key(cache_key, found.entries[0]), costs)
        return [context.observations.save(found, log, started)]


def _with_moments(executor: Executor, context: RunContext, units: Sequence[Observe], log: UnitLog) -> list[Observe]:
    """Return units with the moments that are too many rows' for one worker, which all of them take together."""
    leaves: list[Leaf] = []
    wanted: dict[tuple[int, str, str], range] = {}  # encoder, pooling, rows -> their leaves
    named: list[dict[str, tuple[int, str, str]]] = []
    plan = context.plan
    for unit in units:
        prepared, task, own = context.encoders[unit.encoder], plan.tasks[unit.task], {}
        every = cells(plan, prepared, unit.pooling, task)
        for spec, _ in (every[i] for i in unit.missing):
            fit = plan.fits.get((task.name, plan.fit_word(spec)))
            if fit is None or spec.entry.tuners:
                continue
            fit = prepared.fitted_on(fit)
            if len(fit.ids) < _MANY * LEAF:
                continue
            key = own[fit.word] = (unit.encoder, unit.pooling, fit.digest)
            if key not in wanted:
                first = len(leaves)
                leaves += [Leaf(*key[:2], (task.name, fit.word), start) for start in range(0, len(fit.ids), LEAF)]
                wanted[key] = range(first, len(leaves))
        named.append(own)
    taken = dict(executor.run(leaves, context, log))
    whole = {key: tree(taken[i] for i in places) for key, places in wanted.items()}
    return [
        replace(unit, moments={word: m for word, key in own.items() if (m := whole[key]) is not None})
        for unit, own in zip(units, named, strict=True)
    ]


def observe_all(executor: Executor, context: RunContext, encoders: Sequence[EncodedEncoder], log: ResultLog) -> None:
    """Enter every cell of the suite into the log, in the suite's order; their arrays are left on disk."""
    plan, store = context.plan, context.observations
    under = [(at, pooling) for at, one in enumerate(encoders) for pooling in one.prepared.poolings]
    timed, parts = bool(plan.suite.task_kind.costs), 0
    found: list[list[Observation | None]] = []
    units: list[Observe] = []
    places: list[tuple[list[Observation | None], Sequence[int]]] = []  # where what units see belongs
    with log.stage(context.progress, "evaluating", _count(plan, encoders)):
        for number, pooling in under:
            for at, task in enumerate(plan.tasks):
                asked = cells(plan, context.encoders[number], pooling, task)
                done = [_bare(store.find(cache_key, log)) for _, cache_key in asked]
                missing = tuple(i for i, seen in enumerate(done) if seen is None)
                log.kept += len(done) - len(missing)
                log.tick(len(done) - len(missing))
                parts += len(_parts(asked, range(len(asked))))
                for part in _parts(asked, missing):
                    trains = any(asked[i][0].entry.tuners for i in part)
                    makes = frozenset[str]().union(*(_made(*asked[i]) for i in part))
                    places.append((done, part))
                    weight = task.n * len(part)
                    units.append(
                        Observe(number, pooling, at, part, weight, trains, long=bool(makes), timed=timed, makes=makes)
                    )
                found.append(done)
        texts: list[ObserveText] = []
        lexical: list[Observation | None] = []
        for name in plan.suite.baselines:
            for at, task in enumerate(plan.tasks):
                cache_key = baseline_key(plan, name, task)
                lexical.append(_bare(store.find(cache_key, log)))
                if lexical[-1] is None:
                    places.append((lexical, (len(lexical) - 1,)))
                    texts.append(ObserveText(name, at, cache_key, timed=timed))
        log.kept += len(lexical) - len(texts)
        if parts == 1:
            units = [replace(unit, sole=True) for unit in units]
        if executor.remote:
            units = _with_moments(executor, context, units, log)
            if units and not timed:
                entries = _count(plan, encoders) // len(plan.tasks) + len(plan.suite.baselines)
                Thread(target=_compile_ahead, args=(plan, entries)).start()
        work: list[WorkUnit[RunContext, list[Observation]]] = [*units, *texts]
        for number, seen in executor.run(work, context, log):
            into, where = places[number]
            for i, one in zip(where, seen, strict=True):
                into[i] = _taken(store, one, log)
            if executor.remote and number < len(units):  # baselines are no cells
                log.tick(len(seen))
        _enter_all(context, encoders, found, log)
        for text in lexical:
            if text is not None:
                log.enter(plan.suite, text)


def _compile_ahead(plan: Plan, entries: int) -> None:
    """Compile what the intervals of so many entries are computed with, while other processes are at work."""
    for truth in plan.truths.values():
        with suppress(Degenerate):  # of its labels: then it has no intervals
            truth.compile_ahead(entries, plan.suite.resamples)


def _taken(store: ObservationStore, seen: Observation, log: ResultLog) -> Observation:
    """Return what was seen, without its arrays: they are on disk."""
    store.adopt(seen)
    log.observed += seen.status == "ok"
    return seen.bare


def _parts(asked: Sequence[Cell], wanted: Iterable[int]) -> list[tuple[int, ...]]:
    """Return the numbers of cells of one task, encoder and pooling as they are observed together: every tuned encoder apart."""
    every = tuple(wanted)
    tuned = [i for i in every if asked[i][0].entry.tuners]
    others = tuple(i for i in every if i not in tuned)
    return [*([others] if others else []), *((i,) for i in tuned)]


def _made(spec: SuiteEntry, cache_key: Mapping[str, Any]) -> Iterator[str]:
    """Yield a name of everything that observing a cell trains and stores: tuned encoders, flows."""
    seed = cache_key["seed_of_draw"]
    entry = spec.entry if seed is None else spec.entry.with_seed(seed)
    of = digest([cache_key["vectors"], cache_key["fitted"]])
    for n, step in enumerate(entry.steps, 1):
        if issubclass(step.method, (Tuner, SampleTransform)):
            yield " > ".join([of, *map(str, entry.steps[:n])])


def _bare(seen: Observation | None) -> Observation | None:
    return seen and seen.bare


def _count(plan: Plan, encoders: Sequence[EncodedEncoder]) -> int:
    """Return the number of cells of encoders."""
    under = (spec for e in encoders for p in e.prepared.poolings for spec in plan.suite.entries_for(e.encoder.id, p))
    return sum(len(spec.seeds_under(plan.suite.seed)) for spec in under) * len(plan.tasks)


def _enter_all(
    context: RunContext,
    encoders: Sequence[EncodedEncoder],
    found: Sequence[Sequence[Observation | None]],
    log: ResultLog,
) -> None:
    """Enter what was seen of every encoder, pooling and task, and why there is nothing of other poolings."""
    plan = context.plan
    every = [[one for one in row if one is not None] for row in found]
    suited = {name for row in every for one in row if one.status != "unavailable" for name in one.entries}
    rows = iter(every)
    for encoder in encoders:
        for _ in range(len(encoder.prepared.poolings) * len(plan.tasks)):
            for one in next(rows):
                log.enter(plan.suite, one, suited)
        for status, reasons in (("unavailable", encoder.prepared.unavailable), ("failed", encoder.prepared.failed)):
            for pooling, reason in reasons.items():
                for task in plan.tasks:
                    log.enter_missing(task, encoder.encoder.id, pooling, status, reason)


class _Opened(NamedTuple):
    """What entries work on, as their kind of task has it, and what recalls and times their fits."""

    vectors: Any
    fits: FitCache


def _observe(
    context: RunContext,
    log: UnitLog,
    prepared: PreparedEncoder,
    read: Vectors,
    pooling: str,
    task: TaskData,
    wanted: list[Cell],
    known: Mapping[str, Moments],
) -> list[Observation]:
    """Observe cells of one task, encoder and pooling; ``known`` are moments of what they are fitted on, where taken."""
    plan = context.plan
    kind = plan.suite.task_kind
    words = [plan.fit_word(spec) for spec, _ in wanted if not spec.entry.tuners]
    here = {word for word in words if (task.name, word) not in plan.lacking}
    fits = {word: prepared.fitted_on(plan.fits[task.name, word]) for word in sorted(here - {"none"})}
    opened = None
    if here:
        inputs = task_inputs(context, read, prepared.key(pooling), pooling, task, fits, known=known)
        opened = _Opened(kind.open(inputs), inputs.fits)

    def of(spec: SuiteEntry, cache_key: dict[str, Any]) -> _Opened:
        """Return what an entry works on; the vectors of a tuned encoder are its own."""
        if opened is not None and not spec.entry.tuners:
            return opened
        seed = cache_key["seed_of_draw"]
        entry = spec.entry if seed is None else spec.entry.with_seed(seed)
        inputs = tuned_inputs(context, log, prepared, pooling, task, entry, cache_key["fit_on"])
        return _Opened(kind.open(inputs), inputs.fits)

    seen = []
    for spec, cache_key in wanted:
        lacks = plan.lacking.get((task.name, cache_key["fit_on"]))
        if lacks:
            seen.append(Observation(cache_key, tuple(spec.names), status="unavailable", reason=lacks))
        elif spec.entry.joint:
            seen.append(_observe_joint(context, log, prepared, pooling, task, spec, cache_key))
        else:
            seen.append(_observe_one(context, log, spec, cache_key, of))
        log.tick(1)
    return seen


def _observe_joint(
    context: RunContext,
    log: UnitLog,
    prepared: PreparedEncoder,
    pooling: str,
    task: TaskData,
    spec: SuiteEntry,
    cache_key: dict[str, Any],
) -> Observation:
    """Observe an entry that scores pairs together: the score of each pair, and no vectors."""
    started = time.perf_counter()
    seed, beside = cache_key["seed_of_draw"], context.plan.thresholds.get(task.name)
    entry = spec.entry if seed is None else spec.entry.with_seed(seed)
    try:
        tuned = tuned_scorer(context, log, prepared, pooling, task, entry, cache_key["fit_on"])
        scores = pair_scores(context.progress, tuned.scorer, task.pairs)
        other = pair_scores(context.progress, tuned.scorer, beside.pairs)[None] if beside else np.zeros((0, 0))
    except Unreachable:
        raise  # it says nothing of the cell
    except ValueError as e:
        return Observation.missed(cache_key, spec.names, e)
    found = Observation(
        cache_key,
        spec.names,
        (None,),
        scores[None],
        fit={"trained": tuned.trained},
        threshold_similarity=other,
        clouds={},
    )
    return context.observations.save(found, log, started)


def _observe_one(
    context: RunContext,
    log: UnitLog,
    spec: SuiteEntry,
    cache_key: dict[str, Any],
    of: Callable[[SuiteEntry, dict[str, Any]], _Opened],
) -> Observation:
    """Observe an entry; a tuner that fails fails alone, and dims that the vectors do not have are named in what comes back."""
    started = time.perf_counter()
    opened = None
    try:
        opened = of(spec, cache_key)
        kind, cloud_sample = (
            context.plan.suite.task_kind,
            context.plan.cloud_sample(spec.entry, cache_key["seed_of_draw"]),
        )
        seen, costs = kind.observe(opened.vectors, spec.entry, spec.dims, cache_key, cloud_sample)
    except Unreachable:
        raise  # it says nothing of the cell
    except ValueError as e:
        return Observation.missed(cache_key, spec.names, e)
    finally:
        if opened is not None:
            note_fits(log, cache_key, opened.fits)
    if costs:
        log.note_costs(timing_key(cache_key, seen.entries[0]), costs)
    return context.observations.save(seen, log, started)


def baseline_key(plan: Plan, name: str, task: TaskData) -> dict[str, Any]:
    """Return the key of what is observed without an encoder: a lexical baseline of pairs, or an entry of lexical search."""
    kind = plan.suite.task_kind
    if kind.index:
        entry = parse_entry(name)
        whole, alone = kind.observing_code()
        return observation_key(
            about={
                "kind": plan.suite.kind,
                "task": task.name,
                "encoder": LEXICAL,
                "pooling": "-",
                "entry": name,
                "seed_of_draw": None,
                "fit_on": "none",
            },
            data=data_key(plan, task),
            vectors={},
            steps=[step.key for step in entry.every_step],
            fitted={},
            clouds=None,
            made=made_by(*whole, alone=(__name__, task_inputs.__module__, *alone)),
        )
    fit_on = "target" if name.startswith("tfidf") else "none"
    return observation_key(
        about={"task": task.name, "encoder": name, "pooling": "-", "entry": "raw", "fit_on": fit_on},
        data=data_key(plan, task),
        vectors={"files": baseline_digest(name)},
        steps=[],
        fitted={},
        clouds=None,
        made=made_by(baseline_cosines.__module__, alone=(__name__,), settings=name),
    )


def _search_texts(
    plan: Plan, name: str, task: TaskData, cache_key: Mapping[str, Any]
) -> tuple[Observation, Mapping[str, float]]:
    """Observe an entry of lexical search."""
    kind = plan.suite.task_kind
    opened = kind.open(TextInputs(task, plan.truths[task.name], plan.texts))
    return kind.observe(opened, parse_entry(name), (), cache_key, None)


def _compare_texts(
    plan: Plan, name: str, task: TaskData, cache_key: Mapping[str, Any]
) -> tuple[Observation, Mapping[str, float]]:
    """Observe a lexical baseline of pairs."""
    beside = plan.thresholds.get(task.name)
    similarity, dim = baseline_cosines(name, task.pairs.first, task.pairs.second)
    other = baseline_cosines(name, beside.pairs.first, beside.pairs.second)[0][None] if beside else np.zeros((0, 0))
    # it leaves no vectors to look at
    found = Observation(cache_key, ("raw",), (dim,), similarity[None], threshold_similarity=other, clouds={})
    return found, {}

"""Trains and fits a row's pipeline on the same sentences as the run, and compares it with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.bench.encode import Vectors, encode_some
from hengyu.bench.task_inputs import make_training_data
from hengyu.cards.data import unlike
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.methods.base import Transform
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.pipeline import PipelineFitter
from hengyu.methods.step import Step
from hengyu.methods.training.cache import TunedEncoder, TunedEncoderCache
from hengyu.numerics import metrics
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import vectors_key
from hengyu.storage.records import Run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.grammar import Entry
from hengyu.suites.plan import FitData, Plan
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import Suite
from hengyu.tasks.sts import restrict
from hengyu.tools.export_model.pooled import refuse_unsayable
from hengyu.tools.export_model.row import Choice

__all__ = ["Fitted", "Places", "refit"]


@dataclass(frozen=True)
class Places:
    """Current places of files that have moved since the run."""

    encoder: str = ""  # folder or hub id
    data: Path | None = None
    datasets: Sequence[Path] = ()
    offline: bool = False
    trust_remote_code: bool = False  # never taken from a run's own files


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline, with some of its vectors."""

    base: HuggingFace  # the row's encoder
    trained: tuple[Mapping[str, Any], ...]  # the reports of its trainings, in order; () without training
    encoder: HuggingFace  # the encoder after training
    steps: tuple[str, ...]  # the steps that map vectors, in the entry grammar
    methods: tuple[Transform, ...]  # one per step
    width: int  # width of the encoder's vectors
    splits: tuple[str, ...]  # what it was fitted on: ("LCQMC:test",); () for nothing
    rows: int  # sentences it was fitted on, counting repetitions
    texts: tuple[str, ...]  # (m,) sentences of the task
    vectors: NDArray[np.floating[Any]]  # (m, k) their vectors
    spearman: float  # of the task, for these vectors


def refit(
    run: Run,
    choice: Choice,
    fit_on: str = "",
    places: Places | None = None,
    *,
    store: VectorStore | None = None,
    fits: FitStore | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train and fit a row's steps like the run, or load them; ``fit_on`` (CARD:split) uses other sentences instead.

    Raises:
        HengyuError: if encoder or data cannot be found, or differ from those of the run.
    """
    plan, encoder = _plan(run, choice, fit_on, places or Places())
    pooling = choice.row[1]
    refuse_unsayable(encoder, pooling)
    store = store or VectorStore.default()
    entry = choice.seeded
    fit = next(iter(plan.fits.values()), None)
    task = plan.tasks[0]
    tuned = TunedEncoder(encoder, [])
    if entry.tuners and fit:
        # where the run stores them; a missing one, or one of another version of torch, is trained again
        tuning = TunedEncoderCache(TunedStore.beside(store), progress)
        try:
            tuned = tuning.tune(
                encoder, pooling, entry.tuners, make_training_data(plan, task, fit), "+".join(fit.splits)
            )
        except ValueError as e:
            raise HengyuError(f"entry '{entry}' cannot be trained: {e}") from None
    rest = [step for step in entry.steps if step not in entry.tuners]
    learned = fit if rest else None  # without further steps, no vectors of the training data are needed
    needed = np.unique(np.concatenate([task.ids, *([learned.ids] if learned else [])]))
    vectors = encode_some(store, tuned.encoder, plan.texts, needed, pooling, progress)
    sample = vectors.sample(pooling, learned) if learned else None
    rows = {learned.word: learned.digest} if learned else {}
    recalled = FitCache(fits, vectors_key(tuned.encoder, pooling), rows, progress)
    methods = _fit(entry, rest, sample, recalled, learned.word if learned else "none")
    return _look(plan, encoder, tuned, vectors, pooling, (tuple(map(str, rest)), methods), fit)


def _fit(
    entry: Entry, steps: Sequence[Step], sample: Sample | None, fits: FitCache, word: str
) -> tuple[Transform, ...]:
    """Return the fitted method of every step; each learns from rows that have passed the steps before it."""
    chain = PipelineFitter({} if sample is None else {word: sample}, fits).chain(word)
    methods: list[Transform] = []
    for step in steps:
        if not isinstance(step.make(), Transform):
            raise HengyuError(f"entry '{entry}': '{step}' does not map vectors to vectors, so it cannot be exported")
        try:
            methods.append(chain.add(step))
        except ValueError as e:
            raise HengyuError(f"entry '{entry}' cannot be fitted: {e}") from None
    return tuple(methods)


def _plan(run: Run, choice: Choice, fit_on: str, places: Places) -> tuple[Plan, HuggingFace]:
    known = _sources(run)
    name = choice.row[0]
    given = known.get("encoders", {}).get(name, {})
    if not given and not places.encoder and name != "hengyu-mini" and "/" not in name:
        raise HengyuError(f"run {run.id} does not say where the encoder '{name}' is; give it with --encoder DIR")
    about = next(e for e in run.header["encoders"] if e["encoder"] == name)
    values = {f.name: given[f.name] for f in fields(EncoderSpec) if f.name in given} or {
        **{
            k: about[k]
            for k in ("max_length", "dtype", "backend", "prompt", "pre_tokenizer", "attention", "revision")
            if k in about
        },
        "model": name,
    }
    spec = EncoderSpec(
        **(
            values
            | {"name": name, "device": "", "trust_remote_code": places.trust_remote_code}
            | ({"model": places.encoder} if places.encoder else {})
        )
    )
    if spec.kind != "model":
        place = f"of an API, {spec.api}" if spec.api else f"in {spec.model}"
        raise HengyuError(f"encoder '{name}': is vectors {place}, not a model; choose a row of a model")
    encoder = open_encoder(spec, offline=places.offline)
    for key, value in encoder.identity().items():
        if about.get(key) != value:
            raise HengyuError(
                f"encoder '{spec.model}': its {key} is {value}, but {about.get(key)} in run {run.id}, so it is not the "
                "evaluated one; give that one with --encoder, or run the suite again"
            )
    word = fit_on or choice.fit_on
    suite = Suite(
        name=str(run.header["suite"]["name"]),
        path=run.path,
        tasks=(choice.task,),
        entries=(SuiteEntry(choice.entry, fit_on=word),),
        encoders=(spec,),
        poolings=(choice.row[1],),
        baselines=(),
    )
    data = places.data or (Path(known["data"]) if known.get("data") else None)
    folders = [*places.datasets] or [Path(p) for p in known.get("datasets", ())]
    plan = make_plan(suite, data_dir=data, datasets=folders)
    about = next(t for t in run.header["tasks"] if t["task"] == choice.task)
    problem = unlike(plan.tasks[0].pairs, about, run.id)
    if problem:
        raise HengyuError(f"{problem}; give its data with --data and --datasets, or run the suite again")
    return plan, encoder


def _sources(run: Run) -> dict[str, Any]:
    """Return sources.json, {} for a run without one."""
    import json

    path = run.path / "sources.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError) as e:
        raise HengyuError(f"{path}: cannot be read as JSON ({e}); delete it and give --encoder and --data") from None
    return content if isinstance(content, dict) else {}


def _look(
    plan: Plan,
    base: HuggingFace,
    tuned: TunedEncoder,
    vectors: Vectors,
    pooling: str,
    steps: tuple[tuple[str, ...], tuple[Transform, ...]],
    fit: FitData | None,
) -> Fitted:
    """Return the pipeline with the vectors of the task's sentences, and the resulting Spearman."""
    task = plan.tasks[0]
    ids, (first, second) = restrict([task.first, task.second])
    raw = vectors.get(pooling, ids)
    x: NDArray[np.floating[Any]] = raw
    for method in steps[1]:
        x = method(x)
    return Fitted(
        base,
        tuple(tuned.trained),
        tuned.encoder,
        *steps,
        raw.shape[1],
        fit.splits if fit else (),
        int(fit.counts.sum()) if fit else 0,
        tuple(plan.texts[i] for i in ids),
        x,
        metrics.spearman(cosines(x, first, second), task.pairs.labels),
    )

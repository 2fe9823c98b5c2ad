"""Trains and fits a row's pipeline on the same sentences as the run, and compares it with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.bench.encode import Vectors, encode_some
from hengyu.bench.task_inputs import make_training_data
from hengyu.cards import load_cards, parse_task
from hengyu.cards.card import CollectionCard
from hengyu.cards.data import Pairs, load_pairs, unlike
from hengyu.encoders import BUILT_IN, EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.methods.base import Transform
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import COSINE, Entry
from hengyu.methods.pipeline import PipelineFitter
from hengyu.methods.registry import find_method
from hengyu.methods.step import Step
from hengyu.methods.training.cache import TunedEncoder, TunedEncoderCache
from hengyu.methods.training.data import TrainingData
from hengyu.numerics import metrics
from hengyu.numerics.sample import Sample
from hengyu.storage.fits import FitStore
from hengyu.storage.identity import vectors_key
from hengyu.storage.records import Run
from hengyu.storage.records.sources import Sources, read_sources
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.plan import FitData
from hengyu.suites.split_loader import SplitLoader
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.pairs.vectors import restrict
from hengyu.tools.export_model.pooled import refuse_unsayable
from hengyu.tools.export_model.row import Choice

__all__ = ["Fitted", "FittedScorer", "Places", "card_of", "refit", "refit_scorer"]

_LIBRARY = ("cls", "mean", "last", "weighted-mean", "native")  # what a cross-encoder's folder can pool by


@dataclass(frozen=True)
class Places:
    """Current places of files that have moved since the run."""

    encoder: str = ""  # folder or hub id
    data: Path | None = None
    datasets: Sequence[Path] = ()
    offline: bool = False
    trust_remote_code: bool = False  # never taken from a run's own files


@dataclass(frozen=True)
class _Sentences:
    """What a row is fitted on and evaluated on, read again."""

    task: TaskData
    fit: FitData | None  # None where nothing is learned
    watched: Pairs | None  # what trainings are watched on
    texts: Sequence[str]  # those that task and fit name by their numbers


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline, with some of its vectors."""

    base: HuggingFace  # the row's encoder
    trained: tuple[Mapping[str, Any], ...]  # the reports of its trainings, in order; () without training
    encoder: HuggingFace  # the encoder after training
    pooling: str  # of its vectors
    steps: tuple[str, ...]  # the steps that map vectors, in the entry grammar
    methods: tuple[Transform, ...]  # one per step
    width: int  # width of the encoder's vectors
    splits: tuple[str, ...]  # what it was fitted on: ("LCQMC:test",); () for nothing
    rows: int  # sentences it was fitted on, counting repetitions
    texts: tuple[str, ...]  # (m,) sentences of the task
    vectors: NDArray[np.floating[Any]]  # (m, k) their vectors
    spearman: float  # of the task, for these vectors
    made_for: str = ""  # the card whose model it is, where a training leaves one for each; "" for all alike


@dataclass(frozen=True)
class FittedScorer:
    """A trained cross-encoder, with pairs of the task and its scores of them."""

    base: HuggingFace  # the row's encoder
    folder: Path  # where it is stored
    splits: tuple[str, ...]  # what it was trained on
    pairs: tuple[tuple[str, str], ...]  # (n,) of the task
    scores: NDArray[np.float64]  # (n,)
    spearman: float  # of the task


def refit_scorer(
    run: Run,
    choice: Choice,
    fit_on: str = "",
    places: Places | None = None,
    *,
    store: VectorStore | None = None,
    progress: Progress = silent,
) -> FittedScorer:
    """Train the cross-encoder of a row like the run, or load it; like `refit` otherwise."""
    places = places or Places()
    known = read_sources(run.path, "delete it and give --encoder and --data")
    encoder = _encoder(run, choice, known, places)
    data = _sentences(run, choice, fit_on, known, places)
    fit, pooling, entry = data.fit, choice.row[1], choice.seeded
    refuse_unsayable(encoder, pooling)
    if pooling not in _LIBRARY:
        raise HengyuError(
            f"row '{' | '.join(choice.row)}': sentence-transformers has no pooling '{pooling}' for a cross-encoder; choose a row "
            f"of {', '.join(_LIBRARY)}"
        )
    if fit is None:
        raise HengyuError(f"entry '{entry}': there is nothing to train it on; give --fit-on CARD:SPLIT")
    tuning = TunedEncoderCache(TunedStore.next_to(store or VectorStore.default()), progress)
    training_data = make_training_data(data.texts, data.task, fit, data.watched)
    pairs = data.task.pairs
    try:
        tuned = tuning.tune_pairs(encoder, pooling, entry.tuners, training_data, "+".join(fit.splits))
        scores = tuned.scorer.scores(pairs.first, pairs.second)
    except ValueError as e:
        raise HengyuError(f"entry '{entry}' cannot be trained: {e}") from None
    of_task = metrics.spearman(scores, pairs.labels)
    read = tuple(zip(pairs.first, pairs.second, strict=True))
    return FittedScorer(encoder, tuned.folder, fit.splits, read, scores, of_task)


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
    places = places or Places()
    known = read_sources(run.path, "delete it and give --encoder and --data")
    encoder = _encoder(run, choice, known, places)
    data = _sentences(run, choice, fit_on, known, places)
    task, fit, pooling = data.task, data.fit, choice.row[1]
    refuse_unsayable(encoder, pooling)
    store = store or VectorStore.default()
    entry = choice.seeded
    tuned, made_for = TunedEncoder(encoder, [], pooling), ""
    if entry.tuners and fit:
        # where the run stores them; a missing one, or one of another version of torch, is trained again
        tuning = TunedEncoderCache(TunedStore.next_to(store), progress)
        training_data = make_training_data(data.texts, task, fit, data.watched)
        try:
            tuned = tuning.tune(encoder, pooling, entry.tuners, training_data, "+".join(fit.splits))
            made_for = card_of(entry.tuners, training_data)
        except ValueError as e:
            raise HengyuError(f"entry '{entry}' cannot be trained: {e}") from None
    rest = [step for step in entry.steps if step not in entry.tuners]
    learned = fit if entry.fits_vectors else None  # else no vectors of the training data are needed
    needed = np.unique(np.concatenate([task.ids, *([learned.ids] if learned else [])]))
    pooling = tuned.pooling
    vectors = encode_some(store, tuned.encoder, data.texts, needed, pooling, progress)
    sample = vectors.sample(pooling, learned) if learned else None
    rows = {learned.word: learned.digest} if learned else {}
    recalled = FitCache(fits, vectors_key(tuned.encoder, pooling), rows, progress)
    methods = _fit(entry, rest, sample, recalled, learned.word if learned else "none")
    similarity = entry.similarity or Step(COSINE)
    found = _look(data, encoder, tuned, vectors, (tuple(map(str, rest)), methods), similarity)
    return replace(found, made_for=made_for)


def card_of(steps: Sequence[Step], training_data: TrainingData) -> str:
    """Return the card whose model trainings leave, or of which cards it is the mean; "" where it is the same for all."""
    for step in steps:
        condition = step.make().condition(training_data)
        if "card" in condition:
            return str(condition["card"] or f"other cards: the mean of {', '.join(condition['cards'])}")
    return ""


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


def _encoder(run: Run, choice: Choice, known: Sources, places: Places) -> HuggingFace:
    """Open the encoder of a row; raises `HengyuError` where it is not the one of the run."""
    name = choice.row[0]
    given = known.encoders.get(name, {})
    if not given and not places.encoder and name not in BUILT_IN and "/" not in name:
        raise HengyuError(f"run {run.id} does not say where the encoder '{name}' is; give it with --encoder DIR")
    about = next(e for e in run.header["encoders"] if e["encoder"] == name)
    values = {f.name: given[f.name] for f in fields(EncoderSpec) if f.name in given} or {
        **{
            k: about[k]
            for k in ("max_length", "dtype", "backend", "prompt", "pre_tokenizer", "attention", "long", "revision")
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
    return encoder


def _sentences(run: Run, choice: Choice, fit_on: str, known: Sources, places: Places) -> _Sentences:
    """Read what a row is fitted on and evaluated on; raises `HengyuError` where that is not what the run read."""
    data = places.data or (Path(known.data) if known.data else None)
    folders = [*places.datasets] or [Path(p) for p in known.datasets]
    sampled = {t["task"]: t for t in run.header["tasks"] if t.get("of") is not None}
    seed = next((int(t["sample_seed"]) for t in sampled.values()), 0)
    loader = SplitLoader(load_cards(folders), data, {name: int(t["n"]) for name, t in sampled.items()}, seed)
    entry, fit, watched = choice.entry, None, None
    try:
        card, split = parse_task(loader.cards, choice.task)
        if isinstance(card, CollectionCard):
            load_pairs(card, split)  # says why it has no pairs
        task = loader.evaluated(card, split)
    except HengyuError as e:
        raise HengyuError(*(f"{run.path}: task '{choice.task}': {problem}" for problem in e.problems)) from None
    if any(find_method(step.name).needs_fit for step in entry.steps):
        word = fit_on or choice.fit_on
        try:
            fit = loader.fit(task, word, labelled=entry.labelled)
        except HengyuError as e:
            where = f"{run.path}: entry '{entry}' with fit_on '{word}'"
            raise HengyuError(*(f"{where}: {problem}" for problem in e.problems)) from None
    if entry.tuners:
        watched = loader.valid(task)
    about = next(t for t in run.header["tasks"] if t["task"] == choice.task)
    problem = unlike(task.pairs, about, run.id)
    if problem:
        raise HengyuError(f"{problem}; give its data with --data and --datasets, or run the suite again")
    return _Sentences(task, fit, watched, loader.texts.texts)


def _look(
    data: _Sentences,
    base: HuggingFace,
    tuned: TunedEncoder,
    vectors: Vectors,
    steps: tuple[tuple[str, ...], tuple[Transform, ...]],
    similarity: Step,
) -> Fitted:
    """Return the pipeline with the vectors of the task's sentences, and the resulting Spearman."""
    task, fit = data.task, data.fit
    ids, (first, second) = restrict([task.first, task.second])
    raw = vectors.get(tuned.pooling, ids)
    x: NDArray[np.floating[Any]] = raw
    for method in steps[1]:
        x = method(x)
    return Fitted(
        base,
        tuple(tuned.trained),
        tuned.encoder,
        tuned.pooling,
        *steps,
        raw.shape[1],
        fit.splits if fit else (),
        int(fit.counts.sum()) if fit else 0,
        tuple(data.texts[i] for i in ids),
        x,
        metrics.spearman(similarity.make().pairs(x, first, second), task.pairs.labels),
    )

"""What the entries of a task work on: vectors read from the store, and the training data that encoders are tuned on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hengyu.bench.context import RunContext
from hengyu.bench.encode import Vectors, encode_some
from hengyu.bench.notes import UnitLog
from hengyu.bench.prepared_encoder import PreparedEncoder
from hengyu.cards.data import Pairs
from hengyu.encoders.huggingface import HuggingFace
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.grammar import Entry
from hengyu.methods.step import Step
from hengyu.methods.training.cache import TunedEncoder, TunedScorer
from hengyu.methods.training.data import LabelledPairs, TrainingData
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample
from hengyu.storage.identity import cell, vectors_key
from hengyu.suites.plan import FitData, TextIndex
from hengyu.tasks.interface.base import Inputs
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.interface.truth import Truth
from hengyu.tasks.pairs.vectors import restrict

__all__ = [
    "TaskInputs",
    "TextInputs",
    "make_training_data",
    "task_inputs",
    "tuned_inputs",
    "tuned_scorer",
    "watched_on",
]

Ids = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class TaskInputs(Inputs):
    """What the entries of a task read of the vector store under one encoder and pooling."""

    task: TaskData
    truth: Truth
    thresholds: TaskData | None
    fits: FitCache
    trained: Sequence[Mapping[str, Any]]
    vectors: Vectors
    pooling: str
    fitted_on: Mapping[str, FitData]  # by the fit_on word
    plan_texts: Sequence[str] = ()

    def read(self, ids: Ids) -> NDArray[np.float32]:
        """Return the vectors (n, d) of texts by their numbers (n,)."""
        return self.vectors.get(self.pooling, ids)

    def texts(self, ids: Ids) -> list[str]:
        """Return texts by their numbers (n,)."""
        return [self.plan_texts[int(i)] for i in ids]

    def rows(self, ids: Ids, side: str = "document") -> Sample:
        """Return the vectors of texts, read block by block."""
        asking = self.vectors.asking if side == "query" else None
        return (asking or self.vectors).rows(self.pooling, ids)

    def samples(self, ids: Ids | None = None, x: NDArray[np.float32] | None = None) -> dict[str, Sample]:
        """Return what methods are fitted on, by the fit_on word; the vectors ``x`` of ``ids`` are not read again."""
        return {
            word: Sample.of(x, fit.counts)
            if ids is not None and x is not None and np.array_equal(fit.ids, ids)
            else self.vectors.sample(self.pooling, fit)
            for word, fit in self.fitted_on.items()
        }


@dataclass(frozen=True)
class TextInputs(Inputs):
    """What entries without an encoder read of a task: its texts."""

    task: TaskData
    truth: Truth
    plan_texts: Sequence[str]
    thresholds: TaskData | None = None
    fits: FitCache = field(default_factory=FitCache)
    trained: Sequence[Mapping[str, Any]] = ()

    def read(self, ids: Ids) -> NDArray[np.float32]:
        """Return vectors (n, 0) without columns."""
        return np.zeros((len(ids), 0), np.float32)

    def texts(self, ids: Ids) -> list[str]:
        """Return texts by their numbers (n,)."""
        return [self.plan_texts[int(i)] for i in ids]

    def rows(self, ids: Ids, side: str = "document") -> Sample:
        """Return vectors without columns."""
        return Sample.of(self.read(ids))

    def samples(self, ids: Ids | None = None, x: NDArray[np.float32] | None = None) -> dict[str, Sample]:
        """Return nothing to fit on."""
        return {}


def task_inputs(
    context: RunContext,
    read: Vectors,
    key: Mapping[str, Any],
    pooling: str,
    task: TaskData,
    fits: Mapping[str, FitData],
    trained: Sequence[dict[str, Any]] = (),
    known: Mapping[str, Moments] | None = None,
) -> TaskInputs:
    """Return what the entries of one task need.

    ``key`` is that of the vectors (`hengyu.storage.identity`), ``fits`` what the entries are fitted on, and ``known`` are
    moments of these rows, where taken.
    """
    plan = context.plan
    digests = {word: fit.digest for word, fit in fits.items()}
    recalled = FitCache(context.fits, key, digests, context.progress, moments=known or {})
    beside = plan.thresholds.get(task.name)
    return TaskInputs(task, plan.truths[task.name], beside, recalled, trained, read, pooling, fits, plan.texts)


def tuned_inputs(
    context: RunContext,
    log: UnitLog,
    prepared: PreparedEncoder,
    pooling: str,
    task: TaskData,
    entry: Entry,
    word: str,
) -> TaskInputs:
    """Tune the encoder as an entry says, or recall it; encode what the entry needs, and return that.

    Raises ValueError or `Degenerate` when it cannot be tuned.
    """
    plan = context.plan
    fit = plan.fits[task.name, word]
    tuned: TunedEncoder = _tuned(context, log, prepared, pooling, task, entry, fit, context.tuning.tune)
    own, others = plan.tuned_ids(task, entry, fit)
    read = encode_some(context.store, tuned.encoder, plan.texts, own, tuned.pooling, context.progress, apart=others)
    key = vectors_key(tuned.encoder, tuned.pooling)
    fits = {word: fit} if entry.fits_vectors or np.isin(fit.ids, own).all() else {}
    return task_inputs(context, read, key, tuned.pooling, task, fits, tuned.trained)


def tuned_scorer(
    context: RunContext,
    log: UnitLog,
    prepared: PreparedEncoder,
    pooling: str,
    task: TaskData,
    entry: Entry,
    word: str,
) -> TunedScorer:
    """Train the cross-encoder of an entry, or recall it; raises ValueError or `Degenerate` when it cannot be trained."""
    fit = context.plan.fits[task.name, word]
    return _tuned(context, log, prepared, pooling, task, entry, fit, context.tuning.tune_pairs)


def _tuned(
    context: RunContext,
    log: UnitLog,
    prepared: PreparedEncoder,
    pooling: str,
    task: TaskData,
    entry: Entry,
    fit: FitData,
    tune: Callable[[HuggingFace, str, Sequence[Step], TrainingData, str], T],
) -> T:
    """Train by one of the ways of the cache, and note how long that took."""
    plan, tuning = context.plan, context.tuning
    if not isinstance(prepared.encoder, HuggingFace):
        raise ValueError(f"encoder '{prepared.encoder.id}' is not a model that can be trained")
    training_data = make_training_data(plan.texts, task, fit, plan.held.get(task.name))
    tuned = tune(prepared.encoder, pooling, entry.tuners, training_data, "+".join(fit.splits))
    for where, seconds in tuning.seconds.items():
        log.note_seconds(cell("tune", *where), seconds)
    tuning.seconds.clear()
    return tuned


def make_training_data(texts: Sequence[str], task: TaskData, fit: FitData, watched: Pairs | None) -> TrainingData:
    """Return the sentences of a fit with their labelled pairs, and the pairs that a training is watched on.

    These are ``watched``, of the card's valid split, unless it is trained on, or is the split that is evaluated. Sentences stand
    in the order of their own files, so that a training does not depend on what other ``texts`` are numbered.
    """
    _, places = restrict([np.concatenate(pair) for pair in fit.halves])
    own = [texts[int(i)] for i in fit.ids]
    halves = [np.split(at, 2) for at in places]
    first, second = (np.concatenate([half[k] for half in halves]) for k in (0, 1))
    labelled = LabelledPairs(first, second, *_labels(fit), groups=_groups(fit))
    if fit.distinct:
        labelled = labelled.distinct()
    found = TrainingData(own, fit.counts, labelled, cards=_cards(fit), card=task.pairs.card.name)
    held = fit.held_out(task, watched)
    return found if held is None else watched_on(found, held)


def _labels(fit: FitData) -> tuple[NDArray[np.float64], tuple[float, float], bool]:
    """Return the labels of a fit's pairs, their scale, and whether they are binary; of cards with other scales, on 0..1."""
    cards = [p.pairs.card for p in fit.parts]
    binary = all(card.binary for card in cards)
    if all(card.scale == cards[0].scale for card in cards):
        return np.concatenate(fit.labels), cards[0].scale, binary
    unit = [(y - c.scale[0]) / (c.scale[1] - c.scale[0]) for y, c in zip(fit.labels, cards, strict=True)]
    return np.concatenate(unit), (0.0, 1.0), binary


def _groups(fit: FitData) -> Ids | None:
    """Return the number of the card of each pair of a mixture; None where all are of one card."""
    names = _cards(fit)
    if not fit.rows or len(names) < 2:
        return None
    return np.repeat([names.index(p.pairs.card.name) for p in fit.parts], [len(at) for at in fit.rows])


def _cards(fit: FitData) -> tuple[str, ...]:
    """Return the names of the cards of a fit."""
    return tuple(dict.fromkeys(p.pairs.card.name for p in fit.parts))


def watched_on(training_data: TrainingData, pairs: Pairs) -> TrainingData:
    """Return training data whose training is watched on labelled pairs; nothing is learned from them."""
    others, before = TextIndex(), len(training_data.counts)
    first, second = others.number(pairs.first), others.number(pairs.second)
    held = LabelledPairs(first + before, second + before, pairs.labels, pairs.card.scale, pairs.card.binary)
    return replace(training_data, texts=[*training_data.texts[:before], *others.texts], held=held)

"""What the entries of a task work on: vectors read from the store, and the lessons that encoders are tuned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.bench.context import RunContext
from hengyu.bench.encode import Vectors, encode_some
from hengyu.bench.encoder_jobs import PreparedEncoder
from hengyu.bench.notes import UnitLog
from hengyu.cards.data import Pairs
from hengyu.encoders.huggingface import HuggingFace
from hengyu.methods.fit_cache import FitCache
from hengyu.methods.training.cache import TunedEncoder
from hengyu.methods.training.data import LabelledPairs, TrainingData
from hengyu.numerics.cloud import means_same
from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample
from hengyu.storage.identity import cell, vectors_key
from hengyu.suites.grammar import Entry
from hengyu.suites.plan import FitData, TaskData, TextIndex
from hengyu.tasks.sts import StsVectors, restrict

__all__ = ["make_training_data", "task_vectors", "tuned_vectors"]

Ids = NDArray[np.int64]


def task_vectors(
    context: RunContext,
    read: Vectors,
    key: Mapping[str, Any],
    pooling: str,
    task: TaskData,
    words: set[str],
    trained: Sequence[dict[str, Any]] = (),
    known: Mapping[str, Moments] | None = None,
) -> StsVectors:
    """Read from the store what the entries of one task need.

    ``key`` is that of the vectors (`hengyu.storage.identity`); ``known`` are moments of the words' rows, where taken.
    """
    plan = context.plan
    ids, (first, second) = restrict([task.first, task.second])
    x = read.get(pooling, ids)
    samples, rows = {}, {}
    for word in words - {"none"}:
        fit = plan.fits[task.name, word]
        samples[word] = Sample.of(x, fit.counts) if np.array_equal(fit.ids, ids) else read.sample(pooling, fit)
        rows[word] = fit.digest
    other = None
    beside = plan.thresholds.get(task.name)
    if beside:
        other_ids, (a, b) = restrict([beside.first, beside.second])
        other = (read.get(pooling, other_ids), a, b)
    fits = FitCache(context.fits, key, rows, context.progress, moments=known or {})
    labels = task.pairs.labels
    same = means_same(labels, task.pairs.card.scale)
    return StsVectors(x, first, second, samples, labels, other, fits, trained, same)


def tuned_vectors(
    context: RunContext,
    log: UnitLog,
    job: PreparedEncoder,
    pooling: str,
    task: TaskData,
    entry: Entry,
    word: str,
) -> StsVectors:
    """Tune the encoder as an entry says, or recall it; encode what the entry needs, and read that.

    Raises ValueError or `Degenerate` when it cannot be tuned.
    """
    plan, tuning = context.plan, context.tuning
    if not isinstance(job.encoder, HuggingFace):
        raise ValueError(f"encoder '{job.encoder.id}' is no model that can be trained")
    fit = plan.fits[task.name, word]
    lesson = make_training_data(plan.texts, task, fit, plan.held.get(task.name))
    tuned: TunedEncoder = tuning.tune(job.encoder, pooling, entry.tuners, lesson, "+".join(fit.splits))
    for where, seconds in tuning.seconds.items():
        log.note_seconds(cell("tune", *where), seconds)
    tuning.seconds.clear()
    beside = plan.thresholds.get(task.name)
    needed = np.unique(np.concatenate([task.ids, fit.ids, *([beside.ids] if beside else [])]))
    read = encode_some(context.store, tuned.encoder, plan.texts, needed, pooling, context.progress)
    return task_vectors(context, read, vectors_key(tuned.encoder, pooling), pooling, task, {word}, tuned.trained)


def make_training_data(texts: Sequence[str], task: TaskData, fit: FitData, watched: Pairs | None) -> TrainingData:
    """Return the sentences of a fit with their labelled pairs, and the pairs that a training is watched on.

    These are ``watched``, of the card's valid split, unless it is trained on, or is the split that is weighed. Sentences stand
    in the order of their own files, so that a training does not depend on what other ``texts`` are numbered.
    """
    _, places = restrict([p.ids for p in fit.parts])
    own = [texts[int(i)] for i in fit.ids]
    halves = [np.split(at, 2) for at in places]
    first, second = (np.concatenate([half[k] for half in halves]) for k in (0, 1))
    card = fit.parts[0].pairs.card
    labels = np.concatenate([p.pairs.labels for p in fit.parts])
    labelled = LabelledPairs(first, second, labels, card.scale, card.binary)
    if fit.distinct:
        labelled = labelled.distinct()
    held = None
    seen = {task.pairs.digest, *(p.pairs.digest for p in fit.parts)}
    if watched is not None and watched.digest not in seen:
        others = TextIndex()
        a, b = others.number(watched.first), others.number(watched.second)
        scale, binary = watched.card.scale, watched.card.binary
        held = LabelledPairs(a + len(own), b + len(own), watched.labels, scale, binary)
        own += others.texts
    return TrainingData(own, fit.counts, labelled, held)

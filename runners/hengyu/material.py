"""What the entries of a task work on: vectors read from the store, and the lessons that encoders are tuned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.encoders.huggingface import HuggingFace
from hengyu.encoding import Vectors, encode_missing
from hengyu.entries import Entry
from hengyu.fits import Fits
from hengyu.jobs import Job
from hengyu.ledger import Ledger
from hengyu.moments import Moments
from hengyu.plan import Fit, Plan, TaskData
from hengyu.sample import Sample
from hengyu.store import VectorStore
from hengyu.tasks.sts import StsVectors, restrict
from hengyu.tuned import Tuned, Tuning
from hengyu.tuning.lesson import LabelledPairs, Lesson

__all__ = ["make_lesson", "task_vectors", "tuned_vectors"]

Ids = NDArray[np.int64]


def task_vectors(
    state: Ledger,
    read: Vectors,
    identity: dict[str, Any],
    pooling: str,
    task: TaskData,
    words: set[str],
    trained: Sequence[dict[str, Any]] = (),
    known: Mapping[str, Moments] | None = None,
) -> StsVectors:
    """Read from the store what the entries of one task need; ``known`` are moments of the words' rows, where taken."""
    plan = state.plan
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
    fits = Fits(state.fits, {"identity": identity, "pooling": pooling}, rows, state.progress, moments=known or {})
    return StsVectors(x, first, second, samples, task.pairs.labels, other, fits, trained)


def tuned_vectors(
    state: Ledger,
    store: VectorStore,
    tuning: Tuning,
    job: Job,
    pooling: str,
    task: TaskData,
    entry: Entry,
    word: str,
) -> StsVectors:
    """Tune the encoder as an entry says, or recall it; encode what the entry needs, and read that.

    Raises ValueError or `Degenerate` when it cannot be tuned.
    """
    plan = state.plan
    assert job.vectors is not None
    if not isinstance(job.encoder, HuggingFace):
        raise ValueError(f"encoder '{job.encoder.id}' is no model that can be trained")
    fit = plan.fits[task.name, word]
    lesson = make_lesson(plan, task, fit)
    tuned: Tuned = tuning.tune(job.encoder, pooling, entry.tuners, lesson, "+".join(fit.splits))
    for where, seconds in tuning.seconds.items():
        state.clock.note(f"tune | {where}", seconds)
    tuning.seconds.clear()
    beside = plan.thresholds.get(task.name)
    needed = np.unique(np.concatenate([task.ids, fit.ids, *([beside.ids] if beside else [])]))
    texts = [plan.texts[int(i)] for i in needed]
    read = encode_missing(store, tuned.encoder, texts, [pooling], state.progress)
    read = replace(read, keys=job.vectors.keys)  # looked up by the plan's numbers, as those of the encoder itself
    return task_vectors(state, read, tuned.encoder.identity(), pooling, task, {word}, tuned.trained)


def make_lesson(plan: Plan, task: TaskData, fit: Fit) -> Lesson:
    """Return the sentences of a fit with their labelled pairs, and the pairs that a training is watched on.

    These are of the card's valid split, unless it is trained on, or is the split that is weighed.
    """
    texts = [plan.texts[int(i)] for i in fit.ids]
    pairs = [(p.first, p.second, p.pairs.labels) for p in fit.parts]
    first, second = (np.searchsorted(fit.ids, np.concatenate([p[k] for p in pairs])) for k in (0, 1))
    card = fit.parts[0].pairs.card
    labelled = LabelledPairs(first, second, np.concatenate([p[2] for p in pairs]), card.scale, card.binary)
    if fit.distinct:
        labelled = labelled.distinct()
    watched = plan.held.get(task.name)
    held = None
    seen = {task.pairs.sha256, *(p.pairs.sha256 for p in fit.parts)}
    if watched is not None and watched.pairs.sha256 not in seen:
        ids, (a, b) = restrict([watched.first, watched.second])
        own = watched.pairs.card
        held = LabelledPairs(a + len(texts), b + len(texts), watched.pairs.labels, own.scale, own.binary)
        texts += [plan.texts[int(i)] for i in ids]
    return Lesson(texts, fit.counts, labelled, held)

"""Invariances: what must not move a vector. Each condition encodes the whole sample anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hengyu.base.errors import HengyuError, first_line
from hengyu.tools.selfcheck.change import Change, Yardstick
from hengyu.tools.selfcheck.subject import LIMIT_DISTANCE, LIMIT_POINTS, Check, Subject

__all__ = ["INVARIANCES"]

_CALLS = 5
_LOOK = "look at its prompts, max_seq_length, truncate_dim and modules.json, and report it as a bug of Hengyu"


def determinism(subject: Subject) -> Check:
    """The model loaded and run a second time: the same bytes."""
    usual = subject.yardstick
    subject.encoder.release()
    change = usual.compare(subject.encode(subject.sample.texts))
    if not change.bytes_differ:
        return Check("determinism", "holds", "loaded and run twice, the same bytes", change)
    remedy = "look for dropout left on, sampling, or weights that are made up when the model is loaded"
    return Check("determinism", "broken", f"a second run gave other bytes; {remedy}", change)


def batch_of_one(subject: Subject) -> Check:
    """Every text alone against the default batching."""
    vectors = np.concatenate([subject.encode([text]) for text in subject.sample.texts])
    return _judge(
        "batch size 1",
        subject.yardstick.compare(vectors),
        "a text alone and in a batch give the same vector",
        "a vector depends on the batch; look for statistics over the batch (BatchNorm, centring) in the model's code, and "
        "do not compare its scores across batch sizes",
    )


def order(subject: Subject) -> Check:
    """The texts in another order and in several calls, so that they share their batches with others.

    The order alone may change no batch: texts of one length share it, in whatever order they come.
    """
    places = np.random.default_rng(0).permutation(len(subject.sample.texts))
    vectors = np.empty_like(subject.vectors)
    for part in np.array_split(places, min(_CALLS, len(places))):
        vectors[part] = subject.encode([subject.sample.texts[i] for i in part])
    return _judge(
        "shuffled order",
        subject.yardstick.compare(vectors),
        "the order of the texts and the others beside them do not matter",
        "a vector depends on the texts beside it; look for state kept from call to call, or statistics over the batch",
    )


def padding(subject: Subject) -> Check:
    """Every text beside one that is longer than all, and padded to its length, against no padding at all."""
    if subject.encoder.folder.static:
        return Check("padding", "not run", "the model is no transformer and takes no padding")
    texts = subject.sample.texts
    long, *rows = subject.encoder.tokenizer([beside := max(texts, key=len) + texts[0], *texts])[0]
    if min(map(len, rows)) == len(long):
        return Check("padding", "not run", f"every text fills the {len(long)} tokens of the longest input")
    vectors = subject.encoder.encode_padded(texts, beside, [subject.pooling])[subject.pooling]
    return _judge(
        "padding",
        subject.yardstick.compare(vectors),
        "a text beside a long one keeps its vector",
        "padding reaches the vector; the model ignores its attention mask or counts positions from the padded side. Hengyu "
        "never pads, other libraries do: their scores of this model depend on their batches",
    )


def threads(subject: Subject) -> Check:
    """One thread against all."""
    import torch

    usual = torch.get_num_threads()
    if subject.encoder.device != "cpu":
        return Check("threads", "not run", f"the model runs on {subject.encoder.device}")
    if usual == 1:
        return Check("threads", "not run", "only one thread is to be had here")
    try:
        torch.set_num_threads(1)
        vectors = subject.encode(subject.sample.texts)
    finally:
        torch.set_num_threads(usual)
    return _judge(
        "threads",
        subject.yardstick.compare(vectors),
        f"1 thread and {usual} give the same vectors",
        "the number of threads moves the vectors; fix it (OMP_NUM_THREADS) wherever scores are compared",
    )


def native(subject: Subject) -> Check:
    """Hengyu's ``native`` vectors against those of sentence-transformers on the same folder, one text at a time."""
    import torch

    name, texts, spec = "sentence-transformers", list(subject.sample.texts), subject.spec
    if spec.attention or spec.pre_tokenizer:
        return Check(name, "not run", f"it has no {'attention' if spec.attention else 'pre_tokenizer'} to set")
    ours = subject.encoder.encode(texts, ["native"])["native"]
    folder = subject.encoder.folder
    try:
        library = subject.encoder.library(getattr(torch, spec.dtype))
        if spec.max_length:
            library.max_seq_length = folder.max_length
        wrapped = list(map(subject.encoder.tokenizer.wrap, texts)) if folder.goes_on else texts
        prompt = "" if folder.goes_on else folder.prompt.partition("{text}")[0]
        theirs = np.asarray(library.encode(wrapped, prompt=prompt, batch_size=1, show_progress_bar=False), np.float32)
    except Exception as e:  # whatever the library or a model's code raises
        return Check(name, "not run", f"sentence-transformers cannot use the folder: {first_line(e)[:100]}")
    if theirs.shape != ours.shape:
        return Check(
            name,
            "broken",
            f"the pooling 'native' gives {ours.shape[1]} columns, and the model's own pipeline {theirs.shape[-1]}; {_LOOK}",
        )
    return _judge(
        name,
        Yardstick(subject.sample, ours).compare(theirs),
        "the pooling 'native' gives what the model's own pipeline gives",
        f"the pooling 'native' is not what the model's own pipeline gives; {_LOOK}",
    )


INVARIANCES: dict[str, Callable[[Subject], Check]] = {
    "determinism": determinism,
    "batch size 1": batch_of_one,
    "shuffled order": order,
    "padding": padding,
    "threads": threads,
    "sentence-transformers": native,
}
"""What to call an invariance -> the check of it; raises `HengyuError` where it cannot be run, with the reason."""


def _judge(name: str, change: Change, holds: str, broken: str) -> Check:
    if change.largest is None:
        raise HengyuError("the vectors are of another width and cannot be compared")
    kept = change.largest <= LIMIT_DISTANCE and abs(change.points or 0.0) <= LIMIT_POINTS
    return Check(name, "holds" if kept else "broken", holds if kept else broken, change)

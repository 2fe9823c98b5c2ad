"""Invariances: what must not change a vector. Each condition encodes the whole sample again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hengyu.base.errors import HengyuError, first_line
from hengyu.tools.selfcheck.change import Change, Yardstick
from hengyu.tools.selfcheck.subject import LIMIT_DISTANCE, LIMIT_POINTS, Check, Subject

__all__ = ["INVARIANCES"]

_CALLS = 5
_LOOK = "check its prompts, max_seq_length, truncate_dim and modules.json, and report it as a bug of Hengyu"


def determinism(subject: Subject) -> Check:
    """The model, loaded and run a second time, gives the same bytes."""
    usual = subject.yardstick
    subject.encoder.release()
    change = usual.compare(subject.encode(subject.sample.texts))
    if not change.bytes_differ:
        return Check("determinism", "holds", "two loads and runs give the same bytes", change)
    remedy = "look for active dropout, sampling, or weights that are initialised at loading"
    return Check("determinism", "broken", f"a second run gave different bytes; {remedy}", change)


def batch_of_one(subject: Subject) -> Check:
    """Single texts, compared with the default batching."""
    vectors = np.concatenate([subject.encode([text]) for text in subject.sample.texts])
    return _judge(
        "batch size 1",
        subject.yardstick.compare(vectors),
        "a text has the same vector alone and in a batch",
        "a vector depends on the batch; look for statistics over the batch (BatchNorm, centring) in the model's code, and "
        "do not compare its scores between batch sizes",
    )


def order(subject: Subject) -> Check:
    """The texts in another order and in several calls, so that they are batched with others.

    The order alone may not change the batches: texts of one length share a batch in any order.
    """
    places = np.random.default_rng(0).permutation(len(subject.sample.texts))
    vectors = np.empty_like(subject.vectors)
    for part in np.array_split(places, min(_CALLS, len(places))):
        vectors[part] = subject.encode([subject.sample.texts[i] for i in part])
    return _judge(
        "shuffled order",
        subject.yardstick.compare(vectors),
        "the order and the company of the texts do not matter",
        "a vector depends on other texts; look for state that survives a call, or statistics over the batch",
    )


def padding(subject: Subject) -> Check:
    """Every text padded to the length of a longer one in its batch, compared with no padding."""
    if subject.encoder.folder.static:
        return Check("padding", "not run", "the model is not a transformer and has no padding")
    texts = subject.sample.texts
    long, *rows = subject.encoder.tokenizer([beside := max(texts, key=len) + texts[0], *texts])[0]
    if min(map(len, rows)) == len(long):
        return Check("padding", "not run", f"every text has the maximum length of {len(long)} tokens")
    vectors = subject.encoder.encode_padded(texts, beside, [subject.pooling])[subject.pooling]
    return _judge(
        "padding",
        subject.yardstick.compare(vectors),
        "padding does not change a vector",
        "padding changes the vector; the model ignores its attention mask or counts positions from the padded side. Hengyu "
        "never pads, but other libraries do, so their scores of this model depend on their batches",
    )


def threads(subject: Subject) -> Check:
    """One thread, compared with all."""
    import torch

    usual = torch.get_num_threads()
    if subject.encoder.device != "cpu":
        return Check("threads", "not run", f"the model runs on {subject.encoder.device}")
    if usual == 1:
        return Check("threads", "not run", "only one thread is available")
    try:
        torch.set_num_threads(1)
        vectors = subject.encode(subject.sample.texts)
    finally:
        torch.set_num_threads(usual)
    return _judge(
        "threads",
        subject.yardstick.compare(vectors),
        f"1 thread and {usual} give the same vectors",
        "the number of threads changes the vectors; fix it (OMP_NUM_THREADS) to compare scores",
    )


def native(subject: Subject) -> Check:
    """Hengyu's ``native`` vectors, compared with sentence-transformers on the same folder, text by text."""
    import torch

    name, texts, spec = "sentence-transformers", list(subject.sample.texts), subject.spec
    if spec.attention or spec.pre_tokenizer:
        return Check(name, "not run", f"it has no setting for {'attention' if spec.attention else 'pre_tokenizer'}")
    ours = subject.encoder.encode(texts, ["native"])["native"]
    folder = subject.encoder.folder
    try:
        library = subject.encoder.library(getattr(torch, spec.dtype))
        if spec.max_length:
            library.max_seq_length = folder.max_length
        wrapped = list(map(subject.encoder.tokenizer.wrap, texts)) if folder.prompt_has_suffix else texts
        prompt = "" if folder.prompt_has_suffix else folder.prompt.partition("{text}")[0]
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
        "the pooling 'native' equals the model's own pipeline",
        f"the pooling 'native' differs from the model's own pipeline; {_LOOK}",
    )


INVARIANCES: dict[str, Callable[[Subject], Check]] = {
    "determinism": determinism,
    "batch size 1": batch_of_one,
    "shuffled order": order,
    "padding": padding,
    "threads": threads,
    "sentence-transformers": native,
}
"""Name of an invariance -> its check; raises `HengyuError` with the reason if it cannot be run."""


def _judge(name: str, change: Change, holds: str, broken: str) -> Check:
    if change.largest is None:
        raise HengyuError("the vectors have a different width and cannot be compared")
    kept = change.largest <= LIMIT_DISTANCE and abs(change.points or 0.0) <= LIMIT_POINTS
    return Check(name, "holds" if kept else "broken", holds if kept else broken, change)

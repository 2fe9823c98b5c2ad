"""Sensitivities: what may change a vector, and by how much. None of them is a fault of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import first_line
from hengyu.encoders import Vectors, probes, token_print
from hengyu.encoders.huggingface import HuggingFace
from hengyu.tools.selfcheck.change import Change, Yardstick, distances
from hengyu.tools.selfcheck.subject import LIMIT_UNKNOWN, Check, Subject
from hengyu.tools.selfcheck.variants import VARIANTS

__all__ = ["SENSITIVITIES"]

_FOLDED = "vectors stay: the tokens are the same"
_NO_TOKENS = "the model is not a transformer, so its tokens are unknown"


def in_dtype(dtype: str) -> Callable[[Subject], Check]:
    """Return the check of the model in another dtype."""

    def check(subject: Subject) -> Check:
        if subject.encoder.folder.static:
            return Check(dtype, "not run", "the model is not a transformer and has no half precision")
        usual = subject.yardstick
        subject.encoder.release()
        other = subject.opener(replace(subject.spec, dtype=dtype))
        try:
            vectors = subject.encode(subject.sample.texts, other)
        except (RuntimeError, NotImplementedError, TypeError) as e:
            return Check(dtype, "not run", f"{other.device} cannot run it: {first_line(e)[:100]}")
        finally:
            other.release()
        change = usual.compare(vectors)
        return Check(dtype, "note", f"{_effect(change)}; only compare scores of the same dtype", change)

    return check


def at_length(limit: int) -> Callable[[Subject], Check]:
    """Return the check of truncation to a number of tokens."""

    def check(subject: Subject) -> Check:
        name, folder = f"max length {limit}", subject.encoder.folder
        if folder.static:
            return Check(name, "not run", _NO_TOKENS)
        if folder.max_length <= limit:
            return Check(name, "not run", f"the model accepts at most {folder.max_length} tokens")
        shorter = subject.opener(replace(subject.spec, max_length=limit))
        texts = subject.sample.texts
        cut = np.flatnonzero(shorter.tokenizer(texts)[1][:, 2])
        if not len(cut):
            return Check(
                name,
                "note",
                f"none of {len(texts)} texts is longer, so nothing is truncated",
                Change(0, None, None, 0.0),
            )
        change = subject.yardstick.compare(_replaced(subject, cut, [texts[i] for i in cut], shorter), cut)
        shorter.release()
        return Check(
            name, "note", f"{_share(len(cut), len(texts))} of the texts are truncated; {_effect(change)}", change
        )

    return check


def own_length(subject: Subject) -> Check:
    """The share of texts truncated by the model's own maximum length."""
    if subject.encoder.folder.static:
        return Check("own max length", "not run", _NO_TOKENS)
    counts = subject.encoder.tokenizer(subject.sample.texts)[1]
    longest = subject.encoder.folder.max_length
    return Check(
        "own max length",
        "note",
        f"{_share(counts[:, 2].sum(), len(counts))} of the texts are truncated at {longest} tokens",
    )


def tokenizer(subject: Subject) -> Check:
    """The token-id fingerprint, and the share of [UNK] in the sample; broken if `hengyu run` would refuse the model."""
    if subject.encoder.folder.static:
        return Check("tokenizer", "not run", _NO_TOKENS)
    own = subject.encoder.tokenizer
    unknown, on_probes = (_unknown(own(texts)[1]) for texts in (subject.sample.texts, probes()))
    said = (
        f"token ids {token_print(own.bare)}; [UNK] {unknown:.2%} of the tokens, {on_probes:.2%} on the probe sentences"
    )
    if unknown > LIMIT_UNKNOWN:
        return Check(
            "tokenizer", "broken", f"{said}: its vectors say nothing about these texts; use a model for Chinese"
        )
    return Check("tokenizer", "note", said)


def pooling(subject: Subject) -> Check:
    """The pooling under check, compared with that of the model's own pipeline; with a different width, by scores only."""
    if not subject.encoder.folder.parts:
        return Check("pooling", "not run", "the folder does not name a pooling (no modules.json)")
    if subject.pooling in ("native", subject.encoder.native_is):
        return Check("pooling", "note", f"'{subject.pooling}' is the model's own")
    theirs = subject.encoder.encode(subject.sample.texts, ["native"])["native"]
    change = Yardstick(subject.sample, theirs).compare(subject.vectors)
    return Check("pooling", "note", f"'{subject.pooling}' instead of 'native': {_effect(change)}", change)


def written_as(name: str) -> Callable[[Subject], Check]:
    """Return the check of a writing variant: vectors of each text, scores with the second sentences rewritten."""
    write, remedy = VARIANTS[name]

    def check(subject: Subject) -> Check:
        texts = subject.sample.texts
        other = [write(text) for text in texts]
        changed = np.flatnonzero([a != b for a, b in zip(texts, other, strict=True)])
        if not len(changed):
            return _on_probes(subject, name, write, remedy)
        usual, written = [texts[i] for i in changed], [other[i] for i in changed]
        if _same_tokens(subject, usual, written):
            return Check(name, "note", _FOLDED, Change(len(changed), 0.0, 0.0, 0.0))
        vectors = _replaced(subject, changed, written, subject.encoder)
        change = subject.yardstick.compare(vectors, changed, second_only=True)
        said = f"{_effect(change)}{_more_unknown(subject, usual, written)}; where users mix both, {remedy} first"
        return Check(name, "note", said, change)

    return check


def _on_probes(subject: Subject, name: str, write: Callable[[str], str], remedy: str) -> Check:
    texts = [text for text in probes() if write(text) != text]
    written = [write(text) for text in texts]
    if not texts:
        return Check(name, "not run", "it changes neither a text of the task nor a probe sentence")
    where = "no text of the task changes; on the probe sentences"
    if _same_tokens(subject, texts, written):
        return Check(name, "note", f"{where}: {_FOLDED}", Change(len(texts), 0.0, 0.0))
    apart = distances(subject.encode(texts), subject.encode(written))
    change = Change(len(texts), float(apart.max()), float(apart.mean()))
    said = f"vectors change{_more_unknown(subject, texts, written)}; where users mix both, {remedy} first"
    return Check(name, "note", f"{where}: {said}", change)


SENSITIVITIES: dict[str, Callable[[Subject], Check]] = {
    "pooling": pooling,
    "bfloat16": in_dtype("bfloat16"),
    "float16": in_dtype("float16"),
    "tokenizer": tokenizer,
    **{name: written_as(name) for name in VARIANTS},
    "own max length": own_length,
    "max length 64": at_length(64),
    "max length 128": at_length(128),
}
"""Name of a sensitivity -> its check; raises `HengyuError` with the reason if it cannot be run."""


def _replaced(subject: Subject, places: NDArray[np.int64], texts: list[str], encoder: HuggingFace) -> Vectors:
    """Return the subject's vectors, with those of some texts replaced."""
    vectors = subject.vectors.copy()
    vectors[places] = subject.encode(texts, encoder)
    return vectors


def _effect(change: Change) -> str:
    """Describe the effect of a change on the scores."""
    if change.points is None or change.low is None or change.high is None:
        return "the scores could not be compared"
    if change.points == change.low == change.high == 0:
        return "the order of the pairs does not change"
    if change.low <= 0 <= change.high:
        return "no significant change of the score"
    return f"the score {'rises' if change.points > 0 else 'falls'} by {abs(change.points):.2f} points"


def _same_tokens(subject: Subject, texts: Sequence[str], written: Sequence[str]) -> bool:
    """Whether both give the same tokens, and so the same vectors."""
    if subject.encoder.folder.static:
        return False
    own = subject.encoder.tokenizer
    return own(texts)[0] == own(written)[0]


def _more_unknown(subject: Subject, texts: Sequence[str], written: Sequence[str]) -> str:
    if subject.encoder.folder.static:
        return ""
    before, after = (_unknown(subject.encoder.tokenizer(t)[1]) for t in (texts, written))
    return f" ([UNK] {before:.2%} -> {after:.2%})" if after > before else ""


def _unknown(counts: NDArray[np.float32]) -> float:
    total = counts.astype(np.float64).sum(axis=0)
    return float(total[1] / max(total[0], 1.0))


def _share(part: float, whole: int) -> str:
    return f"{int(part)} of {whole} ({part / whole:.1%})"

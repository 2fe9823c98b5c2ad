"""The encoders of a run: opened, looked at before any of them starts, and set to work one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress
from hengyu.bench.context import RunContext
from hengyu.bench.encode import TOKENS, look_before, refuse_unknown
from hengyu.bench.encode_shards import encode_all
from hengyu.bench.notes import UnitLog
from hengyu.bench.prepared_encoder import EncodedEncoder, PreparedEncoder, absent_encoder, prepare_encoder
from hengyu.bench.units import Executor
from hengyu.encoders import SIDES, Encoder, EncoderFailed, find_encoder
from hengyu.storage.identity import cell, vectors_key
from hengyu.storage.vectors import VectorStore, text_keys
from hengyu.suites.plan import Plan

__all__ = ["encode_each", "look_at", "prepare_encoders"]

_LOOKED_AT = 4096  # texts that are tokenised before any encoder starts


def prepare_encoders(
    plan: Plan, store: VectorStore, progress: Progress, *, offline: bool
) -> tuple[list[PreparedEncoder], list[str]]:
    """Open every encoder, and return what a reader must be told of those that are left out.

    A suite that runs what is at hand leaves out those that cannot be had; those of another are rows with the reason.
    """
    found: list[PreparedEncoder] = []
    missing: list[str] = []
    failed: list[HengyuError] = []
    warnings: list[str] = []
    for spec in plan.suite.encoders:
        try:
            encoder = find_encoder(spec, offline=offline)
            _ask(plan, encoder, store, progress)
            found.append(prepare_encoder(plan, encoder))
        except HengyuError as e:
            if "encoders" not in plan.suite.partial:
                failed.append(e)
                found.append(absent_encoder(spec, plan.suite.poolings, " ".join(e.problems)))
                continue
            missing += e.problems
            warnings.append(f"left out: encoder '{spec.model}', which was not available where this ran")
    if failed and len(failed) == len(found):
        raise HengyuError(*dict.fromkeys(p for e in failed for p in e.problems))
    for problem in dict.fromkeys(p for e in failed for p in e.problems):
        progress.say(f"warning: {problem}; its rows show the reason")
    if missing and not found:
        raise HengyuError(*missing, f"{plan.suite.path}: none of its encoders is available; name one with --encoder")
    for problem in (*plan.left_out, *missing):
        progress.say(f"left out: {problem}")
    return found, warnings


def _ask(plan: Plan, encoder: Encoder, store: VectorStore, progress: Progress) -> None:
    """Let a service say which model answers, before its vectors are looked for."""
    if not encoder.hosted:
        return
    asked, searched = (encoder.spec.prompt_of(side) or "" for side in SIDES)
    if plan.suite.task_kind.sided and asked != searched:
        texts, queries = plan.select(plan.texts_of("document")), plan.select(plan.texts_of("query"))
        encoder.prepare(store, texts, progress, queries)
    else:
        encoder.prepare(store, plan.texts, progress)


def look_at(
    encoders: Sequence[PreparedEncoder], texts: Sequence[str], store: VectorStore, progress: Progress
) -> list[PreparedEncoder]:
    """Return encoders without the poolings of those that cannot read the texts, as far as tokenising some of them shows.

    What the store holds of them is not tokenised again: loading a tokenizer takes seconds.
    """
    some = [*texts[:: max(1, len(texts) // _LOOKED_AT)]]
    keys = text_keys(some)
    found = []
    for prepared in encoders:
        left = prepared
        try:
            for side in prepared.sides if prepared.poolings else ():
                if not _read_before(store, prepared.encodes(side), keys):
                    look_before(prepared.encodes(side), some)
        except EncoderFailed as e:
            left = _given_up(prepared, e, progress)
        found.append(left)
    return found


def _read_before(store: VectorStore, encoder: Encoder, keys: NDArray[np.uint8]) -> bool:
    """Return whether the store knows the tokens of texts; raises `EncoderFailed` where they are mostly unknown ones."""
    space = store.space(vectors_key(encoder, TOKENS))
    if not len(space) or (space.find(keys) < 0).any():
        return False
    counts = space.get(keys).astype(np.float64)
    refuse_unknown(encoder, counts[:, 0].sum(), counts[:, 1].sum())
    return True


def encode_each(executor: Executor, context: RunContext, log: UnitLog) -> list[EncodedEncoder]:
    """Encode with every encoder the texts that the store lacks; one that fails has rows that give the reason."""
    found = []
    for number in range(len(context.encoders)):
        started = time.perf_counter()
        encoded = _encode(executor, context, number, log)
        found.append(encoded)
        if encoded.vectors is None:
            continue
        if sent := encoded.encoder.spent():
            context.progress.say(sent)
        if encoded.vectors.encoded:
            log.note_seconds(cell("encode", encoded.encoder.id), time.perf_counter() - started)
    return found


def _encode(executor: Executor, context: RunContext, number: int, log: UnitLog) -> EncodedEncoder:
    """Encode with one encoder, again without a pooling that it turns out not to give."""
    prepared = context.encoders[number]
    while prepared.poolings:
        try:
            vectors = encode_all(executor, context, number, prepared.poolings, log)
        except EncoderFailed as e:
            prepared = _given_up(prepared, e, context.progress)
        else:
            return EncodedEncoder.of(prepared, vectors, context.plan.tasks)
    return EncodedEncoder(prepared)


def _given_up(prepared: PreparedEncoder, error: EncoderFailed, progress: Progress) -> PreparedEncoder:
    """Return an encoder without what it has failed to give, and say so."""
    left = prepared.without(error)
    prepared.encoder.release()
    for problem in left.problems:
        if problem not in prepared.problems:
            progress.say(f"warning: {problem}; its rows show the reason")
    return left

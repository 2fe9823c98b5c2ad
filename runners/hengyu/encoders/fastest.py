"""The engine for ``--backend auto``: the fastest of those installed whose vectors are PyTorch's, measured once and kept."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from msgspec import Struct

from hengyu.base.environment import may_have_gpu, processor
from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import find_json, write_json
from hengyu.base.paths import cache_dir
from hengyu.base.progress import Progress, silent
from hengyu.base.threads import one_thread
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.encoders import EncoderSpec, Vectors, open_encoder
from hengyu.encoders.engines import BACKENDS
from hengyu.encoders.huggingface import HuggingFace
from hengyu.storage.code_graph import library_version
from hengyu.storage.identity import digest, made_by

__all__ = ["AUTO", "Measured", "TOLERANCE", "choose_backend", "typical_texts", "with_backends"]

AUTO = "auto"
TOLERANCE = 1e-5
"""How far a number in a vector of length 1 may be from PyTorch's."""

_SECONDS = 2.0  # for all engines together, beside loading
_AT_ONCE = 16  # texts of about one length
_PLACES = (0.5, 0.9)  # a text of the usual length, and a long one: shares of the texts in order of length
_clock = time.perf_counter if sys.platform == "win32" else time.process_time  # Windows counts the latter in 16 ms


class Measured(Struct):
    """What was found out about one engine."""

    backend: str
    tokens: float = 0.0  # per second on one thread, including special ones
    difference: float = 0.0  # largest absolute difference of a number from PyTorch's, in vectors of length 1
    problem: str = ""  # why it cannot run the model

    @property
    def equal(self) -> bool:
        """Whether it runs the model and gives PyTorch's vectors."""
        return not self.problem and self.difference <= TOLERANCE


class _Kept(Struct):
    """engines/<digest of the key>.json in the cache."""

    key: dict[str, Any]
    found: list[Measured]


def with_backends(
    spec: EncoderSpec,
    dtypes: Sequence[str] = (),
    backends: Sequence[str] = (),
    progress: Progress = silent,
    *,
    offline: bool = False,
) -> tuple[EncoderSpec, ...]:
    """Return `EncoderSpec.variants` with an engine in the place of ``auto``, named as if that engine had been asked for."""
    if AUTO not in (*backends, spec.backend):
        return spec.variants(dtypes, backends)
    found: list[EncoderSpec] = []
    for dtype in dtypes or (spec.dtype,):
        chosen = choose_backend(replace(spec, dtype=dtype), progress, offline=offline)
        own = replace(spec, backend=chosen if spec.backend == AUTO else spec.backend)
        found += own.variants((dtype,), [chosen if b == AUTO else b for b in backends])
    return tuple(found)


def choose_backend(spec: EncoderSpec, progress: Progress = silent, *, offline: bool = False) -> str:
    """Return the fastest engine on one thread whose vectors equal PyTorch's to `TOLERANCE`, and say what was measured.

    What was measured is kept in the cache under the model's fingerprint, the library versions and the processor, so that
    the same command chooses the same engine again. An encoder that no other engine can run keeps PyTorch: one that is no
    transformer, computes on a GPU, or not in float32. So does one that cannot be opened; whoever opens it next says why.
    """
    if spec.kind != "model":
        return "torch"
    bare = replace(
        spec, backend="torch", prompt="", query_prompt=None, document_prompt=None, max_length=0, long="", name=""
    )
    said = f"backend auto, {spec.display_name}: "
    try:
        encoder = open_encoder(bare, offline=offline)
        if encoder.folder.static:
            return "torch"
        if why := _only_torch(encoder):
            progress.say(f"{said}torch, {why}")
            return "torch"
        key = _key(encoder)
        path = cache_dir() / "engines" / f"{digest(key)}.json"
        kept = find_json(path, _Kept)
        found = kept.found if kept is not None and kept.key == key and _whole(kept.found) else []
        before = bool(found)
        if not found:
            found = _measure_all(encoder, offline=offline)
            with suppress(HengyuError):  # a cache that cannot be written costs time alone
                write_json(path, {"key": key, "found": [_plain(m) for m in found]})
    except HengyuError:
        return "torch"
    chosen = max((m for m in found if m.equal), key=lambda m: m.tokens).backend
    again = ", as measured before" * before
    progress.say(f"{said}{', '.join(map(_said, found))}, on one thread{again}; chosen: {chosen}")
    return chosen


def typical_texts() -> list[list[str]]:
    """Return batches of sentences of hengyu-sts, about as long as most of them and as the longer ones."""
    pairs = load_pairs(load_cards()["hengyu-sts"], "test")
    texts = sorted(dict.fromkeys([*pairs.first, *pairs.second]), key=len)
    return [texts[(at := int(place * len(texts))) : at + _AT_ONCE] for place in _PLACES]


def _installed(backend: str) -> bool:
    return all(find_spec(name) is not None for name in BACKENDS[backend])


def _only_torch(encoder: HuggingFace) -> str:
    """Return why nothing is measured, "" where there is something to."""
    if encoder.spec.dtype != "float32":
        return f"since engines round {encoder.spec.dtype} differently"
    others = [name for name in BACKENDS if name != "torch"]
    if not any(map(_installed, others)):
        return "the only engine here; others may be faster: " + " or ".join(
            f"pip install 'hengyu[{b}]'" for b in others
        )
    if encoder.spec.device not in ("", "cpu"):
        return f"since other engines do not run on device '{encoder.spec.device}'"
    if may_have_gpu() and encoder.device != "cpu":
        return "since it runs on the GPU"
    return ""


def _key(encoder: HuggingFace) -> dict[str, Any]:
    libraries = {"torch", "transformers", *(name for names in BACKENDS.values() for name in names)}
    return {
        "fingerprint": encoder.folder.fingerprint,
        "settings": [encoder.spec.attention, encoder.spec.pre_tokenizer],
        "engines": {name: library_version(name) for name in sorted(libraries)},
        "processor": [platform.system(), platform.machine(), processor(), os.cpu_count()],
        **made_by("hengyu.encoders.huggingface", alone=(__name__,)),
    }


def _whole(found: Sequence[Measured]) -> bool:
    """Whether measurements that were kept can be chosen from."""
    names = [m.backend for m in found]
    return "torch" in names and all(m.backend in BACKENDS for m in found) and all(m.equal for m in found[:1])


def _measure_all(encoder: HuggingFace, *, offline: bool) -> list[Measured]:
    """Measure every engine that is installed, PyTorch first; raises `HengyuError` where PyTorch cannot run the model."""
    batches = typical_texts()
    names = [name for name in BACKENDS if _installed(name)]
    found: list[Measured] = []
    with one_thread():  # as the worker processes of a run; an engine takes over PyTorch's number when it loads
        usual, tokens = _measure(encoder, batches, _SECONDS / len(names))
        found.append(Measured("torch", tokens))
        for name in names[1:]:
            try:
                other = open_encoder(replace(encoder.spec, backend=name), offline=offline)
                vectors, tokens = _measure(other, batches, _SECONDS / len(names))
                found.append(Measured(name, tokens, _difference(usual, vectors)))
            except Exception as e:  # whatever an engine raises
                found.append(Measured(name, problem=first_line(e)[:200]))
    return found


def _measure(encoder: HuggingFace, batches: Sequence[Sequence[str]], seconds: float) -> tuple[list[Vectors], float]:
    """Return the vectors of every batch in every pooling, and the tokens per second.

    The first pass loads the model and is not timed. Then every batch is encoded again and again, and the least processor
    time of each counts, so that other work on the machine does not.
    """
    poolings = [name for name, why in encoder.poolings.items() if not why and name != "echo"]
    try:
        vectors = [rows for batch in batches for rows in encoder.encode(batch, poolings).values()]
        best = [float("inf")] * len(batches)
        tokens = [0.0] * len(batches)
        end = time.perf_counter() + seconds
        while not all(tokens) or time.perf_counter() < end:
            for i, batch in enumerate(batches):
                start = _clock()
                chunks = list(encoder.stream(batch, ["mean"], lambda _: True))
                best[i] = min(best[i], _clock() - start)
                tokens[i] = sum(float(c.counts[:, 0].sum()) + 2 * len(c.indices) for c in chunks)
    finally:
        encoder.release()
    return vectors, sum(tokens) / max(sum(best), 1e-9)


def _difference(usual: Sequence[Vectors], other: Sequence[Vectors]) -> float:
    """Return the largest absolute difference of a number in vectors of length 1; infinite where one is not finite."""
    most = max(float(np.abs(_unit(a) - _unit(b)).max()) for a, b in zip(usual, other, strict=True))
    return most if np.isfinite(most) else float("inf")


def _unit(rows: Vectors) -> Any:
    x = rows.astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)


def _plain(found: Measured) -> dict[str, Any]:
    far = found.difference if np.isfinite(found.difference) else 1e300  # JSON has no infinity
    return {"backend": found.backend, "tokens": found.tokens, "difference": far, "problem": found.problem}


def _said(found: Measured) -> str:
    if found.problem:
        return f"{found.backend} not possible ({found.problem})"
    words = f"{found.backend} {found.tokens:,.0f} tokens/s"
    if found.backend == "torch":
        return words
    return f"{words} (vectors within {found.difference:.1e}{'' if found.equal else ', too far to be taken'})"

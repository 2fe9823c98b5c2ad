"""Cache keys: everything that a stored thing depends on, as JSON, and the digest that names it.

Vectors, fits, fine-tuned encoders, observations and runs are stored under the digest of their key, so they are reused only
if all of it is the same: texts, counts and labels as read, every parameter (including defaults), the code that made them,
and the versions of the libraries used. A key is structured content, never joined text, so that names cannot be confused
with others.

The code of a step is its own module and, transitively, every module of ours that it imports; a method from outside the
package counts with its file and its imports from the same folder. Comments, docstrings and layout do not count
(`hengyu.storage.code_graph`), so editing prose costs no new encoding.

This module imports nothing from Hengyu but that graph of imports.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import repeat
from typing import Any

from hengyu.storage.code_graph import Code, library_version

__all__ = [
    "CODE",
    "array_digest",
    "cell",
    "digest",
    "fit_key",
    "made_by",
    "name_of",
    "observation_key",
    "parts_of",
    "run_key",
    "step_key",
    "text_digest",
    "tuned_key",
    "vectors_key",
]

Key = dict[str, Any]

_NO_NUMBERS = frozenset(
    ("click", "fsspec", "huggingface_hub", "msgspec", "mteb", "platformdirs", "psutil", "pyarrow", "ray", "rich")
) | {"safetensors", "threadpoolctl"}
"""Libraries that read, write or show, but compute nothing that is stored."""

_OPTIONAL = {"onnxruntime": "onnx", "openvino": "openvino", "jieba": "jieba"}
"""Libraries that count only if the settings of an encoder, or the words among a step's parameters, contain the word."""

_BRING = {"transformers": ("tokenizers",), "sentence_transformers": ("transformers", "tokenizers")}


def digest(content: Any) -> str:
    """Return the sha256 (64 hex digits) of JSON content, independent of the order of its keys.

    Raises ValueError for NaN and infinities, TypeError for keys that are not strings and for non-JSON values.
    """
    _refuse_other_keys(content)
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _refuse_other_keys(content: Any) -> None:
    """Raise TypeError for a key that is not a string: JSON would write 1 and "1" alike."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not a string")
            _refuse_other_keys(value)
    elif isinstance(content, list | tuple):
        for value in content:
            if isinstance(value, Mapping | list | tuple):
                _refuse_other_keys(value)


def name_of(key: Mapping[str, Any], digits: int) -> str:
    """Return the first digits of a key's digest, for the name of a file or folder."""
    return digest(key)[:digits]


def text_digest(texts: Iterable[str], counts: Iterable[int] | None = None) -> str:
    """Return the sha256 of texts, in order, and of their counts; lone surrogates pass through."""
    total = hashlib.sha256()
    for text, count in zip(texts, repeat(1) if counts is None else counts, strict=False):
        content = text.encode("utf-8", "surrogatepass")
        total.update(b"%d %d " % (count, len(content)))
        total.update(content)
    return total.hexdigest()


def array_digest(*arrays: Any) -> str:
    """Return the sha256 of NumPy arrays: their types, shapes and bytes."""
    import numpy as np

    total = hashlib.sha256()
    for array in arrays:
        x = np.ascontiguousarray(array)
        total.update(f"{x.dtype.str} {x.shape} ".encode())
        total.update(x.tobytes())
    return total.hexdigest()


def cell(*parts: str | int | None) -> str:
    """Return the key of a cell in a document, such as timings.json: its parts as a JSON array."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def parts_of(key: str) -> tuple[Any, ...]:
    """Return the parts of a `cell`; () for other text."""
    try:
        found = json.loads(key)
    except (ValueError, RecursionError):
        return ()
    whole = isinstance(found, list) and all(p is None or type(p) in (str, int) for p in found)
    return tuple(found) if whole else ()


CODE = Code()
"""The code of this installation."""


def made_by(*modules: str, alone: Sequence[str] = (), within: Sequence[str] = (), settings: str = "") -> Key:
    """Return the code that makes a thing: the digest of what modules reach, and the versions of Python and libraries.

    Args:
        modules: names of modules that count with everything they reach.
        alone: names of modules that count without their imports.
        within: packages that imports are followed in; all of ours by default.
        settings: words of an encoder's or a step's settings, for libraries that only some of them use.
    """
    return dict(_made_by(modules, tuple(alone), tuple(within), settings))


@cache
def _made_by(modules: tuple[str, ...], alone: tuple[str, ...], within: tuple[str, ...], settings: str) -> Key:
    reached, libraries = CODE.reached(*modules, within=within)
    names = {name for name in libraries if name not in _NO_NUMBERS and _OPTIONAL.get(name, "") in settings}
    names |= {other for name in names for other in _BRING.get(name, ())}
    versions = {name: library_version(name) or name.partition(" ")[2] for name in sorted(names)}
    return {
        "code": digest({"reached": reached, "alone": {name: CODE.alone(name) for name in alone}}),
        "libraries": {"python": f"{sys.version_info.major}.{sys.version_info.minor}", **versions},
    }


def step_key(name: str, method: Any, home: str) -> Key:
    """Return the key of a step: its method's name, version, code, and every parameter, including defaults.

    Args:
        name: as entries write it.
        method: an object of its class with the step's parameters.
        home: the method's module.
    """
    modules = {home, *(c.__module__ for c in type(method).__mro__)}
    parameters = {f.name: _plain(getattr(method, f.name)) for f in fields(method) if f.init}
    words = " ".join(value for value in parameters.values() if isinstance(value, str))
    return {
        "name": name,
        "parameters": parameters,
        "version": _plain(getattr(method, "version", None)),
        **made_by(*sorted(modules), settings=words),
    }


def _plain(value: Any) -> Any:
    """Return a parameter as JSON; non-finite numbers and other objects by their representation."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value if value is None or isinstance(value, bool | int | float | str) else {"object": repr(value)}


_NOT_OF_VECTORS = (
    *(
        "long",
        "model",
        "name",
        "revision",
        "device",
        "texts",
    ),  # the identity has long unless it is the default; the fingerprint identifies the model, whatever its name
    *("key_env", "batch_size", "requests_per_minute", "timeout", "price_per_million", "allow_api", "key_over_http"),
    *("query_prompt", "document_prompt"),  # the identity has the prompt that was used
)
"""Settings of an encoder that say where it is and how it is accessed, and do not affect vectors."""


def vectors_key(encoder: Any, pooling: str, identity: Mapping[str, Any] | None = None) -> Key:
    """Return the key of vectors: everything they depend on besides their texts.

    Non-default settings of the encoder's spec that its identity does not name count too, so that a new setting cannot be
    forgotten.

    Args:
        encoder: a `hengyu.encoders.Encoder`.
        pooling: the pooling.
        identity: the result of ``encoder.identity()``, if known.
    """
    given = dict(encoder.identity() if identity is None else identity)
    spec = getattr(encoder, "spec", None)
    settings = {
        f.name: value
        for f in (fields(spec) if spec is not None else ())
        if f.name not in (*_NOT_OF_VECTORS, *given) and (value := getattr(spec, f.name)) != f.default
    }
    words = " ".join(str(given.get(k, "")) for k in ("backend", "pre_tokenizer"))
    modules = sorted({*(c.__module__ for c in type(encoder).__mro__), *encoder.made_with})
    return {**given, **settings, "pooling": pooling, **made_by(*modules, settings=words)}


def fit_key(
    *, vectors: Mapping[str, Any], rows: str, before: Sequence[Mapping[str, Any]], step: Mapping[str, Any]
) -> Key:
    """Return the key of a fitted state.

    Args:
        vectors: the key of the vectors.
        rows: the digest of the texts that it is fitted on, in order, and of their counts.
        before: the keys of the steps that the texts' vectors have passed.
        step: the key of the step that is fitted.
    """
    return {"vectors": dict(vectors), "rows": rows, "before": [dict(s) for s in before], "step": dict(step)}


def tuned_key(
    *,
    about: Mapping[str, Any],
    encoder: Mapping[str, Any],
    step: Mapping[str, Any],
    training_data: str,
    held: str,
    made: Mapping[str, Any],
    condition: Mapping[str, Any] | None = None,
) -> Key:
    """Return the key of a fine-tuned encoder.

    Args:
        about: for readers: the step in the entry grammar, and the pooling.
        encoder: the key of the original encoder's vectors.
        step: the key of the step that trains it.
        training_data: the digest of the training texts, counts and labels.
        held: the digest of the labelled pairs that are held out.
        made: the code that trains (`made_by`).
        condition: what the model depends on besides, like the card that it is for; {} or None for nothing.
    """
    found = {**about, "encoder": dict(encoder), "method": dict(step), "lesson": training_data, "held": held, **made}
    return {**found, "condition": dict(condition)} if condition else found


def observation_key(
    *,
    about: Mapping[str, Any],
    data: Mapping[str, Any],
    vectors: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    fitted: Mapping[str, Any],
    clouds: int | None,
    made: Mapping[str, Any],
) -> Key:
    """Return the key of an observation. Resamples and levels are not part of it: numbers are derived later.

    Args:
        about: its cell: task, encoder, pooling, entry, fit_on, and the seed.
        data: digests of the texts and labels of the task, and of the split on which thresholds are chosen.
        vectors: the key of the vectors.
        steps: the keys of the entry's steps.
        fitted: digests of the data that is fitted or trained on.
        clouds: the seed of the sample for the embedding geometry; None without it.
        made: the code that observes (`made_by`).
    """
    return {
        **about,
        "data": dict(data),
        "vectors": digest(vectors),
        "steps": [dict(s) for s in steps],
        "fitted": dict(fitted),
        "clouds": clouds,
        **made,
    }


def run_key(
    *,
    tasks: Sequence[Mapping[str, Any]],
    cells: Iterable[Mapping[str, Any]],
    judged: Mapping[str, Any],
    made: Mapping[str, Any],
) -> str:
    """Return the digest of everything that the numbers of a run depend on.

    Args:
        tasks: digests of the texts and labels of each task.
        cells: the keys of all observations.
        judged: how they become numbers: metrics, comparisons, seed, resamples, level.
        made: the code that derives numbers (`made_by`).
    """
    return digest({"tasks": list(tasks), "cells": sorted(map(digest, cells)), "judged": dict(judged), **made})

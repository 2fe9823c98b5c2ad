"""Observations on disk: what was seen, kept so that numbers can be derived afterwards without a new run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.errors import HengyuError
from hengyu.records import write_bytes

__all__ = ["Observation", "load_observation", "save_observation"]


@dataclass(frozen=True)
class Observation:
    """The similarities of one task under one encoder, pooling and entry, at one or several dimensions.

    Attributes:
        meaning: what it is of (task, encoder, pooling, entry, fit_on, hashes); makes the file's name.
        entries: the entries (K,) it shows, which differ in their dimension alone.
        dims: the dimension (K,) of the vectors compared, row by row.
        similarity: the cosine (K, n) of every pair, in the order of the task's file.
        sweep: for a sweep over all dimensions: "dim", "value", "error", each (D,): Spearman and its standard error.
        beside: the cosine (K, m) of every pair of the split that decision thresholds are chosen on; (0, 0) without one.
        fit: what the fit found: rows, rank, effective rank, condition number.
        status: "ok", "failed", "degenerate" or "unavailable", with a reason unless ok.
    """

    meaning: Mapping[str, Any]
    entries: tuple[str, ...]
    dims: tuple[int, ...] = ()
    similarity: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    sweep: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""
    beside: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))


def _name(meaning: Mapping[str, Any]) -> str:
    canonical = json.dumps(dict(meaning), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def save_observation(folder: Path, observation: Observation) -> Path:
    """Write an observation to its file, whole or not at all; returns the file."""
    from safetensors.numpy import save

    tensors = {"similarity": np.ascontiguousarray(observation.similarity), "beside": observation.beside}
    tensors |= {f"sweep.{k}": np.ascontiguousarray(v) for k, v in observation.sweep.items()}
    about = {
        "meaning": dict(observation.meaning),
        "entries": list(observation.entries),
        "dims": list(observation.dims),
        "fit": dict(observation.fit),
        "sha256": _digest(tensors),
    }
    content = save(tensors, metadata={"hengyu": json.dumps(about, sort_keys=True, allow_nan=False)})
    path = folder / f"{_name(observation.meaning)}.safetensors"
    write_bytes(path, content)
    return path


def load_observation(folder: Path, meaning: Mapping[str, Any]) -> Observation | None:
    """Read the observation of a meaning back; None when there is none, `HengyuError` when its bytes have changed."""
    from safetensors import SafetensorError, safe_open

    path = folder / f"{_name(meaning)}.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["hengyu"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        intact = about["sha256"] == _digest(tensors) and about["meaning"] == dict(meaning)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        intact = False
    if not intact:
        raise HengyuError(f"{path}: has changed since it was written; delete it, the next run makes it again")
    sweep = {key.removeprefix("sweep."): value for key, value in tensors.items() if key.startswith("sweep.")}
    return Observation(
        meaning,
        tuple(about["entries"]),
        tuple(about["dims"]),
        tensors["similarity"],
        sweep,
        about["fit"],
        beside=tensors["beside"],
    )


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for key in sorted(tensors):
        total.update(f"{key}{tensors[key].shape}{tensors[key].dtype}".encode())
        total.update(np.ascontiguousarray(tensors[key]).tobytes())
    return total.hexdigest()

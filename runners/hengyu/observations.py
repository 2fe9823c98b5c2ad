"""Observations on disk: what was seen, kept so that numbers can be derived afterwards without a new run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.sealed import load_sealed, save_sealed

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


def save_observation(folder: Path, observation: Observation) -> Path:
    """Write an observation to its file, whole or not at all; returns the file."""
    tensors = {"similarity": observation.similarity, "beside": observation.beside}
    tensors |= {f"sweep.{k}": v for k, v in observation.sweep.items()}
    about = {"entries": list(observation.entries), "dims": list(observation.dims), "fit": dict(observation.fit)}
    return save_sealed(folder, observation.meaning, tensors, about)


def load_observation(folder: Path, meaning: Mapping[str, Any]) -> Observation | None:
    """Read the observation of a meaning back; None when there is none, `HengyuError` when its bytes have changed."""
    found = load_sealed(folder, meaning)
    if found is None:
        return None
    tensors, about = found
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

"""Observations on disk, from which numbers can be derived without a new run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from msgspec import Struct
from msgspec import field as msgspec_field
from numpy.typing import NDArray

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import Degenerate, HengyuError, WrongSize
from hengyu.base.json_files import check, shaped
from hengyu.numerics.cloud_sample import SAMPLE
from hengyu.storage.records import write_bytes
from hengyu.storage.tensor_file import load_sealed, read_metadata, read_sealed, save_sealed, sealed_path

__all__ = [
    "ObservationRef",
    "Observation",
    "damaged_in",
    "kept_in",
    "load_groups",
    "load_labels",
    "load_observation",
    "save_labels",
    "save_observation",
]

Place = tuple[str, str, str, str, str]  # task, encoder, pooling, entry, fit_on
_LABELS = "labels.safetensors"
_GROUPS = "groups of "  # task names have no spaces


class _Head(Struct):
    """What the file of an observation says of itself apart from its cache key."""

    entries: tuple[str, ...]
    dims: tuple[int | None, ...]
    fit: dict[str, Any]
    too_wide: dict[str, str] = {}
    index: dict[str, float] = {}
    clouds: dict[str, Any] | None = None
    sample: dict[str, Any] = {}


class _Place(Struct):
    task: str
    encoder: str
    pooling: str
    fit_on: str
    seed_of_draw: int | None = None


class _Described(Struct):
    """What the file of an observation says of what it is of."""

    cache_key: _Place = msgspec_field(name="meaning")
    entries: tuple[str, ...]


@dataclass(frozen=True)
class Observation:
    """The similarities of one task under one encoder, pooling and entry, at one or several dimensions.

    Attributes:
        cache_key: its identity (task, encoder, pooling, entry, fit_on, hashes), which gives the file's name.
        entries: the entries (K,) it covers, which differ only in their dimension.
        dims: the dimension (K,) of the compared vectors, row by row; None without vectors.
        similarity: the cosine (K, n) of every pair, in the order of the task's file.
        sweep: for a sweep over all dimensions: "dim", "value", "error", each (D,): Spearman and its standard error.
        neighbours: of a retrieval task: "ids" and "ranks", each (Q, k), as `hengyu.tasks.search.ranking.scores` takes them;
            without vectors of its own a search has no ranks.
        measures: other similarities than the cosine, each (K, n), for kinds that judge them too.
        index: of a retrieval task: the size of the index, "index-bytes" and "bytes-per-vector".
        too_wide: entries that need more columns than the vectors have (or another size that they do not have), with the
            reason.
        threshold_similarity: the cosine (K, m) of every pair of the split on which decision thresholds are chosen; (0, 0)
            without one.
        fit: figures of the fit: rows, rank, effective rank, condition number.
        clouds: the embedding geometry (`hengyu.numerics.cloud_sample`), by entry; None if it was not measured.
        status: "ok", "failed", "degenerate" or "unavailable", with a reason unless ok.
    """

    cache_key: Mapping[str, Any]
    entries: tuple[str, ...]
    dims: tuple[int | None, ...] = ()
    similarity: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    sweep: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""
    threshold_similarity: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    too_wide: Mapping[str, str] = field(default_factory=dict)
    neighbours: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    measures: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    index: Mapping[str, float] = field(default_factory=dict)
    clouds: Mapping[str, Any] | None = None

    @property
    def tensors(self) -> dict[str, NDArray[Any]]:
        """What was seen as arrays, as they are stored: "similarity", "beside", "sweep.dim", "neighbours.ids", ..."""
        tensors: dict[str, NDArray[Any]] = {"similarity": self.similarity, "beside": self.threshold_similarity}
        tensors |= {f"sweep.{k}": v for k, v in self.sweep.items()}
        tensors |= {f"measures.{k}": v for k, v in self.measures.items()}
        return tensors | {f"neighbours.{k}": v for k, v in self.neighbours.items()}

    @property
    def bare(self) -> Self:
        """The same without its arrays, which lie on disk."""
        none = np.zeros((0, 0))
        return replace(self, similarity=none, sweep={}, threshold_similarity=none, neighbours={}, measures={})

    @classmethod
    def missed(cls, cache_key: Mapping[str, Any], names: Sequence[str], error: ValueError) -> Self:
        """Return the observation of entries that could not be observed, with the reason."""
        if isinstance(error, WrongSize):
            return cls(cache_key, (), status="unavailable", too_wide=dict.fromkeys(names, str(error)))
        status = "degenerate" if isinstance(error, Degenerate) else "failed"
        return cls(cache_key, tuple(names), status=status, reason=str(error))


def save_observation(folder: Path, observation: Observation) -> Path:
    """Write an observation to its file atomically; returns the file."""
    about = {
        "entries": list(observation.entries),
        "dims": list(observation.dims),
        "fit": dict(observation.fit),
        "too_wide": dict(observation.too_wide),
        **({"index": dict(observation.index)} if observation.index else {}),
        **({"clouds": dict(observation.clouds), "sample": SAMPLE} if observation.clouds is not None else {}),
    }
    return save_sealed(folder, observation.cache_key, observation.tensors, about)


def load_observation(folder: Path, cache_key: Mapping[str, Any]) -> Observation | None:
    """Read the observation of a cache key; None if there is none; raises `HengyuError` if its bytes have changed."""
    found = load_sealed(folder, cache_key)
    if found is None:
        return None
    tensors, about = found
    head = check(about, _Head, sealed_path(folder, cache_key), "delete it, the next run makes it again")

    def below(word: str) -> dict[str, NDArray[Any]]:
        return {key.removeprefix(word): x for key, x in tensors.items() if key.startswith(word)}

    return Observation(
        cache_key,
        head.entries,
        head.dims,
        tensors["similarity"],
        below("sweep."),
        head.fit,
        threshold_similarity=tensors["beside"],
        too_wide=head.too_wide,
        neighbours=below("neighbours."),
        measures=below("measures."),
        index=head.index,
        clouds=head.clouds if head.sample == SAMPLE else None,
    )


@dataclass(frozen=True)
class ObservationRef:
    """The place of one cell's similarities (n,), read on demand."""

    path: Path
    row: int

    def tensors(self) -> dict[str, NDArray[Any]] | None:
        """Return all arrays of the observation (`Observation.tensors`), None for a file that cannot be read or has changed."""
        try:
            return read_sealed(self.path)[0]
        except HengyuError:
            return None

    def read(self) -> NDArray[np.float64] | None:
        """Return the similarity (n,) of every pair, None if the file cannot be read or has changed."""
        try:
            return np.asarray((self.tensors() or {})["similarity"][self.row], dtype=np.float64)
        except (KeyError, IndexError):
            return None

    def neighbours(self) -> NDArray[Any] | None:
        """Return the rows (Q, k) that a retrieval cell found, None if the file cannot be read or has changed."""
        return (self.tensors() or {}).get("neighbours.ids")


def kept_in(run: Path) -> dict[Place, list[ObservationRef]]:
    """Return the observations in a run's folder, cell by cell: one file, or one per seed.

    Unreadable files are left out.
    """
    found: dict[Place, dict[int | None, ObservationRef]] = {}
    for path in _files(run):
        try:
            about = shaped(read_metadata(path), _Described)
        except ValueError:
            continue
        m = about.cache_key
        for row, entry in enumerate(about.entries):
            place = (m.task, m.encoder, m.pooling, entry, m.fit_on)
            found.setdefault(place, {}).setdefault(m.seed_of_draw, ObservationRef(path, row))
    return {place: list(draws.values()) for place, draws in found.items()}


def damaged_in(run: Path) -> list[Path]:
    """Return the observations of a run that have changed since they were written."""
    found = []
    for path in _files(run):
        try:
            read_sealed(path)
        except HengyuError:
            found.append(path)
    return found


def _files(run: Path) -> list[Path]:
    return sorted((run / "observations").glob("*.safetensors"))


def save_labels(
    run: Path, labels: Mapping[str, NDArray[np.float64]], groups: Mapping[str, NDArray[np.int64]] | None = None
) -> None:
    """Write the labels (n,) of a run's tasks, so that numbers can be derived without the data.

    ``groups`` (n,) numbers the groups of pairs that share a sentence; it is omitted if no pairs share one.
    """
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {task: np.ascontiguousarray(y, np.float64) for task, y in labels.items()}
    shared = {task: g for task, g in (groups or {}).items() if len(np.unique(g)) < len(g)}
    tensors |= {f"{_GROUPS}{task}": np.ascontiguousarray(g, np.int64) for task, g in shared.items()}
    write_bytes(run / _LABELS, save(tensors))


def load_labels(run: Path) -> dict[str, NDArray[np.float64]]:
    """Return the labels (n,) of a run's tasks; none if they were not stored or cannot be read."""
    return {k: np.asarray(y, np.float64) for k, y in _label_file(run).items() if not k.startswith(_GROUPS)}


def load_groups(run: Path) -> dict[str, NDArray[np.int64]]:
    """Return the groups (n,) of pairs that share a sentence, for each task with such pairs."""
    found = _label_file(run)
    return {k.removeprefix(_GROUPS): np.asarray(g, np.int64) for k, g in found.items() if k.startswith(_GROUPS)}


def _label_file(run: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(read_bytes(run / _LABELS))
    except (SafetensorError, OSError, ValueError):
        return {}

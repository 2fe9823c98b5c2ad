"""What a student imitates: the teacher's vectors, centred, turned to the student's width, with length 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, first_line
from hengyu.base.json_files import write_bytes
from hengyu.base.progress import Progress
from hengyu.bench.encode import encode_missing, open_spaces
from hengyu.encoders import Encoder
from hengyu.encoders.precomputed import Precomputed
from hengyu.storage.vectors import VectorStore, text_keys

__all__ = ["Space", "fit_space", "load_space", "ridge", "save_space", "taught", "teach", "turned"]

_BLOCK = 16384  # lines encoded or read at once
_FITTED = 50_000  # lines that mean and axes are fitted on
_RIDGE = 1e-3  # of the mean variance

Vectors = NDArray[np.float32]


def taught(encoder: Encoder, lines: Sequence[str]) -> list[bool]:
    """Whether each line has a vector: all do, unless the vectors are given."""
    if not isinstance(encoder, Precomputed):
        return [True] * len(lines)
    known = set(encoder.texts)
    return [line in known for line in lines]


def teach(
    encoder: Encoder, pooling: str, lines: Sequence[str], store: VectorStore, progress: Progress
) -> Iterator[Vectors]:
    """Yield the teacher's vectors (n, d) of blocks of lines; those that the store lacks are encoded and stored.

    Killed at any point, the same call goes on. Vectors that are given are read from their file.
    """
    if isinstance(encoder, Precomputed):
        for at in range(0, len(lines), _BLOCK):
            yield encoder.encode(lines[at : at + _BLOCK], [pooling])[pooling]
        return
    encoder.prepare(store, lines, progress)
    spaces = open_spaces(store, encoder, (pooling,))
    quiet = Progress(None)
    with progress.stage(f"encode with the teacher {encoder.id}", len(lines)) as tick:
        for at in range(0, len(lines), _BLOCK):
            block = list(lines[at : at + _BLOCK])
            encode_missing(store, encoder, list(dict.fromkeys(block)), (pooling,), quiet, spaces=spaces)
            yield spaces[pooling].get(text_keys(block))
            tick(at + len(block))
    encoder.release()


@dataclass(frozen=True)
class Space:
    """The affine map from the teacher's vectors to the targets, before they get length 1."""

    mean: Vectors  # (d,), of the teacher's vectors
    axes: Vectors  # (d, k), orthonormal columns
    kept: float  # share of the teacher's variance that the axes keep

    def __call__(self, x: Vectors) -> Vectors:
        """Return the targets (n, k) of the teacher's vectors (n, d)."""
        y = (x - self.mean) @ self.axes
        found: Vectors = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-9)
        return found


def fit_space(x: Vectors, width: int) -> Space:
    """Return the mean and the ``width`` principal axes of vectors (n, d).

    A student wider than the teacher gets the teacher's own axes; the further columns of its targets are 0.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    variance, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    most = vectors[:, ::-1][:, :width]
    kept = float(variance[::-1][:width].sum() / max(variance.sum(), 1e-30))
    axes = np.zeros((x.shape[1], width), np.float32)
    axes[:, : most.shape[1]] = most
    return Space(mean.astype(np.float32), axes, kept)


def turned(space: Space, targets: Vectors, student: Vectors) -> Space:
    """Return the space turned so that targets (n, k) come as close as they can to a student's centred vectors (n, k).

    Cosines do not change under a rotation (orthogonal Procrustes: Schönemann, Psychometrika 31, 1966).
    """
    centred = student.astype(np.float64) - student.mean(axis=0, dtype=np.float64)
    left, _, right = np.linalg.svd(targets.T.astype(np.float64) @ centred)
    return Space(space.mean, (space.axes.astype(np.float64) @ left @ right).astype(np.float32), space.kept)


def ridge(x: Vectors, y: Vectors) -> tuple[Vectors, Vectors]:
    """Return weights (k, d) and bias (k,) of the ridge regression of y (n, k) on x (n, d)."""
    mean, centre = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    centred = x - mean
    square = centred.T @ centred
    square += _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    weight = np.linalg.solve(square, centred.T @ (y - centre))
    return weight.T.astype(np.float32), (centre - mean @ weight).astype(np.float32)


def save_space(path: Path, space: Space) -> None:
    """Write the map; a training that goes on reads it."""
    from safetensors.numpy import save

    tensors = {"mean": space.mean, "axes": np.ascontiguousarray(space.axes), "kept": np.array([space.kept])}
    write_bytes(path, save(tensors))


def load_space(path: Path) -> Space:
    """Read the map; raises `HengyuError` for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        held: dict[str, Any] = load_file(path)
        return Space(held["mean"], held["axes"], float(held["kept"][0]))
    except (SafetensorError, OSError, KeyError, IndexError, ValueError) as e:
        raise HengyuError(
            f"{path}: cannot be read ({first_line(e)}); delete the folder {path.parent} and start again"
        ) from None

"""The teacher's vectors, from the store, and the file of the map that makes targets of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from hengyu.numerics.imitation import Space
from hengyu.storage.vectors import VectorStore, text_keys

__all__ = ["load_space", "save_space", "taught", "teach"]

_BLOCK = 16384  # lines encoded or read at once
_FITTED = 50_000  # lines that mean and axes are fitted on

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

"""Made-up sentence vectors by the million: few intrinsic dimensions, a falling spectrum, a common direction, clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hengyu.numerics.sample import Sample

__all__ = ["synthetic_block", "synthetic_file", "unit"]

_BLOCK = 16384
_TOPICS = 4096
_INTRINSIC = 24


def synthetic_block(number: int, d: int, seed: int = 0) -> np.ndarray:
    """Return block ``number`` of an endless corpus: (16384, d), float32, length 1; the same whatever was read before.

    A vector is a topic and its own place around it, 24 coordinates in all, through one layer of tanh to d columns, with 5 % of
    noise in all directions and a mean that everything shares, as the vectors of pretrained encoders have.
    """
    fixed = np.random.default_rng([seed, d])
    topics = fixed.normal(size=(_TOPICS, _INTRINSIC)).astype(np.float32)
    first = fixed.normal(size=(_INTRINSIC, 96)).astype(np.float32) / np.sqrt(_INTRINSIC, dtype=np.float32)
    falling = (np.arange(1, 97) ** -0.5).astype(np.float32)[:, None]
    second = fixed.normal(size=(96, d)).astype(np.float32) * falling
    shared = fixed.normal(size=d).astype(np.float32)
    draw = np.random.default_rng([seed, d, number])
    place = topics[draw.integers(0, _TOPICS, _BLOCK)]
    place = place + 0.6 * draw.standard_normal((_BLOCK, _INTRINSIC), dtype=np.float32)
    x = np.tanh(1.5 * place @ first) @ second
    x = (
        x
        + shared
        + 0.05 * np.linalg.norm(x, axis=1, keepdims=True) * draw.standard_normal(x.shape, dtype=np.float32) / 4
    )
    return unit(x)


def unit(x: np.ndarray) -> np.ndarray:
    """Return rows (n, d) at length 1."""
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def synthetic_file(path: Path, n: int, d: int, seed: int = 0) -> Sample:
    """Write n vectors to a file block by block; return them as rows that are read from it when they are asked for."""
    with path.open("wb") as file:
        for start in range(0, n, _BLOCK):
            file.write(synthetic_block(start // _BLOCK, d, seed)[: n - start].tobytes())
    rows = np.memmap(path, np.float32, "r", shape=(n, d))
    return Sample(lambda ids: np.asarray(rows[ids[0] : ids[-1] + 1] if _run(ids) else rows[ids]), np.ones(n, np.int64))


def _run(ids: np.ndarray) -> bool:
    return len(ids) == ids[-1] - ids[0] + 1

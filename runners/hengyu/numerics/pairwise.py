"""What is computed of many pairs of vectors, a tile at a time in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bounded_by_one", "pairwise", "quotients", "unit_rows"]

Rows = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Wide = NDArray[np.float64]
_TILE = 512  # pairs whose vectors fit into the processor's cache
_ONE = 1.0 - 1e-12  # equal vectors must tie: rounding of their 1 must not order them


def pairwise(x: NDArray[Any], first: Rows, second: Rows, compare: Callable[[Wide, Wide], Wide]) -> Wide:
    """Return what ``compare`` makes of rows ``first`` and ``second`` (n,) of x (m, d): it maps two (t, d) to (t,)."""
    out = np.empty(len(first))
    for start in range(0, len(first), _TILE):
        here = slice(start, start + _TILE)
        out[here] = compare(x[first[here]].astype(np.float64), x[second[here]].astype(np.float64))
    return out


def quotients(above: Wide, below: Wide) -> Wide:
    """Return above / below (n,), and 0 where there is nothing to divide by."""
    found: Wide = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    return found


def bounded_by_one(values: Wide) -> Wide:
    """Return values (n,) of [-1, 1] with those within rounding of an end at the end."""
    found: Wide = np.where(np.abs(values) > _ONE, np.sign(values), values)
    return found


def unit_rows(x: Floats) -> NDArray[np.float32]:
    """Return rows (n, d) at length 1; zero rows stay zero."""
    wide = np.asarray(x, np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    unit: NDArray[np.float32] = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0).astype(np.float32)
    return unit

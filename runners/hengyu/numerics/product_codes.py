"""The centroids of product codes, by faiss's k-means, at one speed whatever the width of a part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["product_centroids"]

_FAST = (
    2**17
)  # numbers in a part (rows times columns) from which on faiss 1.15 has its fast path for the nearest centroid
_WIDEST = 32  # columns to which a part is widened for that path at most


def product_centroids(x: NDArray[np.float32], m: int, bits: int, seed: int) -> NDArray[np.float32]:
    """Return the centroids (m, 2^bits, d/m) of the m parts of the rows x (n, d), by k-means of 25 rounds.

    They are those of faiss's ``ProductQuantizer``, to rounding where a part holds few numbers: faiss then takes up to ten times as
    long, and is given columns of 0 beside it, which change no distance. m must divide d, and n be at least 2^bits.
    """
    n, d = x.shape
    width = d // m
    wide = min(-(-_FAST // n), _WIDEST)
    if wide <= width or n * wide < _FAST:
        return _centroids(np.ascontiguousarray(x, np.float32), m, bits, seed)
    part = np.zeros((n, wide), np.float32)  # of one part at a time, for the memory
    found = np.empty((m, 2**bits, width), np.float32)
    for i in range(m):
        part[:, :width] = x[:, i * width : (i + 1) * width]
        found[i] = _centroids(part, 1, bits, seed)[0, :, :width]
    return found


def _centroids(x: NDArray[np.float32], m: int, bits: int, seed: int) -> NDArray[np.float32]:
    import faiss

    quantizer: Any = faiss.ProductQuantizer(x.shape[1], m, bits)
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1  # faiss would warn on stderr
    quantizer.train(x)
    return np.asarray(faiss.vector_to_array(quantizer.centroids), np.float32).reshape(m, 2**bits, -1)

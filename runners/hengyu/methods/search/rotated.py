"""faiss indexes behind a random rotation, which RaBitQ needs: faiss's own do not rotate."""

from __future__ import annotations

from typing import Any

from hengyu.numerics.rabitq import MOST_BITS

__all__ = ["check_rabitq", "rotated"]


def rotated(index: Any, d: int, seed: int) -> Any:
    """Return an index that rotates its vectors (n, d) by a matrix drawn by ``seed`` before a given one has them."""
    import faiss

    turn = faiss.RandomRotationMatrix(d, d)
    turn.init(seed)
    return faiss.IndexPreTransform(turn, index)


def check_rabitq(name: str, bits: int, query_bits: int, seed: int) -> None:
    """Raise ValueError for parameters out of range."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"{name}(bits={bits}) must lie in 1..{MOST_BITS}")
    if not 0 <= query_bits <= 8:
        raise ValueError(f"{name}(query_bits={query_bits}) must lie in 0..8")
    if not 0 <= seed < 2**31:
        raise ValueError(f"{name}(seed={seed}) must lie in 0..2^31")

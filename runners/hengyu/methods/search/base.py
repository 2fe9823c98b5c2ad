"""The common part of the faiss indexes: adding rows in fixed portions, ordering results, counting bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Index
from hengyu.numerics.sample import Sample

__all__ = ["FaissIndex", "HammingIndex", "by_score", "portions", "spread_rows"]

_BITS = 40  # of a row's number, below its distance
_PORTION = 16384  # rows added at once: a graph depends on the portions, so they are fixed


class FaissIndex(Index):
    """A faiss index of float vectors with the inner product; a method is a dataclass that creates one.

    Douze et al., The Faiss library, arXiv:2401.08281.
    """

    training_rows = 0  # maximum, for an index that learns from its vectors

    _index: Any
    _n: int
    _empty: int

    def _make(self, d: int, n: int) -> Any:
        """Return the empty faiss index for n vectors of width d; raises ValueError if it cannot hold them."""
        raise NotImplementedError

    def _train(self, x: NDArray[Any]) -> None:
        """Let the faiss index learn from rows (n, d) as it takes them."""
        self._index.train(x)

    def _take(self, x: Floats) -> NDArray[Any]:
        """Convert rows (n, d) for the faiss index."""
        return np.ascontiguousarray(x, np.float32)

    def _score(self, found: NDArray[Any]) -> NDArray[np.float32]:
        """Convert faiss's distances (Q, k) to scores, larger for nearer."""
        return np.asarray(found, np.float32)

    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Add the rows of x (n, d), read ``block`` at a time; raises ValueError for too few rows or columns."""
        rows = x if isinstance(x, Sample) else Sample.of(x)
        self._n = len(rows)
        self._index = self._make(rows.rows(np.arange(1)).shape[1], self._n)
        if not self._index.is_trained:
            self._train(self._take(rows.rows(spread_rows(self._n, self.training_rows))))
        self._empty = self.size()
        for part in portions(rows, block):
            self._index.add(self._take(part))
        return self

    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k), best first, ties by number; -1 and -inf if fewer are found."""
        found, ids = self._index.search(self._take(q), k)
        return self._ordered(ids, found)

    def _ordered(self, ids: Ids, found: NDArray[Any]) -> tuple[Ids, NDArray[np.float32]]:
        """Return faiss's numbers (Q, k), and scores in place of its distances, best first, ties by number."""
        return by_score(ids, self._score(found))

    def size(self) -> int:
        """Return the size in bytes of the index as written by faiss."""
        import faiss

        total = 0

        def count(part: bytes) -> int:
            nonlocal total
            total += len(part)
            return len(part)

        writer = faiss.PyCallbackIOWriter(count)  # type: ignore[attr-defined]  # its stubs lack it
        write = faiss.write_index_binary if isinstance(self._index, faiss.IndexBinary) else faiss.write_index
        write(self._index, writer)
        del writer  # flushes
        return total

    def vector_size(self) -> float:
        """Return the bytes that one more vector adds: the growth by all vectors over their number."""
        return (self.size() - self._empty) / self._n


class HammingIndex(FaissIndex):
    """A faiss index whose distances are numbers of bits, of which many are equal."""

    _scores: NDArray[np.float32]  # of each distance

    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Add the rows of x (n, d), read ``block`` at a time; raises ValueError for too few rows or columns."""
        super().build(x, block)
        self._scores = self._score(np.arange(getattr(self._index, "nbits", self._index.d) + 1))
        return self

    def _ordered(self, ids: Ids, found: NDArray[Any]) -> tuple[Ids, NDArray[np.float32]]:
        if np.count_nonzero(ids[:, -1] < 0):
            return super()._ordered(ids, found)
        ids, distances = by_whole_distance(ids, found)
        return ids, self._scores[distances]


def by_score(ids: Ids, scores: NDArray[np.float32]) -> tuple[Ids, NDArray[np.float32]]:
    """Return numbers and scores (Q, k) with equal scores ordered by number, -1 last.

    Only rows that need it are sorted: faiss's results are mostly in order, and sorting costs more than some searches.
    """
    if len(ids) == 1 and ids[0, -1] >= 0:
        return _one_by_score(ids, scores)
    if not (scores[:, 1:] >= scores[:, :-1]).any() and (ids[:, -1] >= 0).all():
        return ids, scores
    if (ids[:, -1] < 0).any():
        scores = np.where(ids >= 0, scores, np.float32(-np.inf))
    wrong = (scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] < ids[:, :-1]) | (scores[:, 1:] > scores[:, :-1])
    at = np.flatnonzero(wrong.any(axis=1))
    if len(at):
        order = np.lexsort((ids[at], -scores[at]), axis=1)
        ids[at] = np.take_along_axis(ids[at], order, axis=1)
        scores[at] = np.take_along_axis(scores[at], order, axis=1)
    return ids, scores


def _one_by_score(ids: Ids, scores: NDArray[np.float32]) -> tuple[Ids, NDArray[np.float32]]:
    """Order the results (1, k) of one query, of which none is missing, in as few calls as there can be.

    An index answers a query in tens of microseconds, and a call of NumPy takes one or two.
    """
    found, score = ids[0], scores[0]
    if not np.count_nonzero(score[1:] >= score[:-1]):
        return ids, scores
    order = np.lexsort((found, -score))
    return found[order][None], score[order][None]


def by_whole_distance(ids: Ids, found: NDArray[Any]) -> tuple[Ids, NDArray[np.int64]]:
    """Return numbers and distances (Q, k), which are whole numbers, with equal distances ordered by number; none is missing.

    Distance and number in one integer are sorted at once: bits are compared so quickly that two sorts would show.
    """
    key = found.astype(np.int64)
    key <<= _BITS
    key |= ids
    key.sort(axis=1)
    ordered = key & ((1 << _BITS) - 1)
    key >>= _BITS
    return ordered, key


def portions(rows: Sample, block: int) -> Iterator[NDArray[np.float32]]:
    """Yield all rows in portions of a fixed size, whatever the size of the blocks."""
    buffer: NDArray[np.float32] | None = None
    filled = 0
    for part, _ in rows.blocks(block):
        if buffer is None:
            buffer = np.empty((min(_PORTION, len(rows)), part.shape[1]), np.float32)
        start = 0
        while start < len(part):
            taken = min(len(part) - start, len(buffer) - filled)
            buffer[filled : filled + taken] = part[start : start + taken]
            start, filled = start + taken, filled + taken
            if filled == len(buffer):
                yield buffer
                filled = 0
    if buffer is not None and filled:
        yield buffer[:filled]


def spread_rows(n: int, most: int) -> Ids:
    """Return at most ``most`` row numbers, evenly spread over n."""
    return np.unique(np.linspace(0, n - 1, min(n, max(most, 1))).astype(np.int64))

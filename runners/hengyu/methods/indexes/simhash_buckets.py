"""simhash-buckets(bits, tables, probes, seed): hash tables of random signs, with several buckets probed per table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Index
from hengyu.methods.search.base import by_score, portions
from hengyu.methods.search.probing import probe
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "SimhashBuckets"]

_BATCH = 256  # queries


@dataclass
class SimhashBuckets(Index):
    """Compares a query exactly with the vectors in its own and the most likely other buckets; 4 d + 4 tables bytes per vector.

    A bucket is given by the ``bits`` signs of Gaussian projections; every table draws its own. In each table ``probes``
    buckets are searched, in the order of the squared margins of the signs to flip: Lv et al., Multi-probe LSH, VLDB 2007.
    A query may return fewer results than requested. Probing all buckets is exact search.
    """

    bits: int = 10
    tables: int = 4
    probes: int = 16
    seed: int = 0
    _x: NDArray[np.float32] = field(init=False, repr=False)
    _directions: NDArray[np.float64] = field(init=False, repr=False)  # (d, T b)
    _offsets: NDArray[np.int32] = field(init=False, repr=False)
    _members: NDArray[np.int32] = field(init=False, repr=False)
    _seen: NDArray[np.int64] = field(init=False, repr=False)  # the last query that saw each row
    _asked: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 24:
            raise ValueError(f"simhash-buckets(bits={self.bits}) must lie in 1..24")
        if not 1 <= self.tables <= 256:
            raise ValueError(f"simhash-buckets(tables={self.tables}) must lie in 1..256")
        if not 1 <= self.probes <= 2**self.bits:
            raise ValueError(
                f"simhash-buckets(probes={self.probes}) must lie in 1..{2**self.bits}, the number of buckets"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"simhash-buckets(seed={self.seed}) must lie in 0..2^63")

    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Put the rows of x (n, d), read ``block`` at a time, into the buckets of every table."""
        rows = x if isinstance(x, Sample) else Sample.of(x)
        n, d = len(rows), rows.rows(np.arange(1)).shape[1]
        draw = np.random.default_rng([self.seed, d])
        self._directions = draw.standard_normal((self.tables * self.bits, d)).T.copy()
        self._x = np.empty((n, d), np.float32)
        keys = np.empty((self.tables, n), np.int32)
        start = 0
        for part in portions(rows, block):
            stop = start + len(part)
            self._x[start:stop] = part
            keys[:, start:stop] = ((self._margins(part) > 0) << np.arange(self.bits)).sum(axis=2).T
            start = stop
        self._members = np.argsort(keys, axis=1, kind="stable").astype(np.int32)
        self._offsets = np.zeros((self.tables, 2**self.bits + 1), np.int32)
        for table in range(self.tables):
            self._offsets[table, 1:] = np.cumsum(np.bincount(keys[table], minlength=2**self.bits))
        self._seen, self._asked = np.zeros(n, np.int64), 0
        return self

    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and inner products (Q, k), best first, ties by number; -1 and -inf if fewer are found."""
        queries = np.ascontiguousarray(q, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        kernel = probe()
        for start in range(0, len(queries), _BATCH):
            at = slice(start, start + _BATCH)
            part = queries[at]
            margins = self._margins(part)
            orders = np.argsort(np.abs(margins), axis=2)  # not in the kernel: a sort is half of what compiling it takes
            buckets = (self._offsets, self._members, self.probes)
            kernel(self._x, part, margins, orders, *buckets, self._seen, self._asked + 1, ids[at], scores[at])
            self._asked += len(part)
        return by_score(ids, scores)

    def warm(self) -> None:
        """Compile now what would be compiled at first use, so that measurements exclude it."""
        SimhashBuckets(bits=1, probes=1).build(np.eye(2, dtype=np.float32)).search(np.eye(2), 1)

    def size(self) -> int:
        """Return the size of vectors, directions and buckets in bytes."""
        arrays = (self._x, self._directions, self._offsets, self._members)
        return sum(int(a.nbytes) for a in arrays)

    def vector_size(self) -> float:
        """Return the bytes that one more vector adds."""
        return (self._x.nbytes + self._members.nbytes) / len(self._x)

    def _margins(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return (x.astype(np.float64) @ self._directions).reshape(len(x), self.tables, self.bits)


METHOD = SimhashBuckets

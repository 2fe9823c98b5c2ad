"""pq(m, bits, seed): product quantization, each of m parts of a vector replaced by the nearest of 2^bits centroids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, WrongSize
from hengyu.methods.base import Code, Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.product_codes import product_centroids
from hengyu.numerics.sample import Sample
from hengyu.numerics.signs import bit_bytes

__all__ = ["METHOD", "PQ"]

_PER_CENTROID = 256  # rows per centroid that suffice for training, as in faiss
_BLOCK = 2048  # rows; faiss tabulates m 2^bits distances for each


@dataclass
class PQ(SampleTransform, Code):
    """Replaces each of ``m`` parts of a row by its nearest centroid; (n, d) to (n, d), float32.

    Jegou, Douze and Schmid, Product quantization for nearest neighbor search (PAMI 2011), by faiss: k-means with
    2^``bits`` centroids in each part, 25 rounds, on at most 256 distinct rows per centroid, drawn by ``seed``. If m does not
    divide d, columns of 0 are added and removed again. Pairs are compared by the cosine of the decoded vectors (symmetric
    distance); the centroids, m 2^bits d/m numbers for all vectors together, are not counted in the bytes.
    """

    m: int
    bits: int = 8
    seed: int = 0
    centroids: NDArray[np.float32] = field(init=False, repr=False)  # (m, 2^bits, ceil(d/m))
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)
    _made: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ValueError(f"pq(m={self.m}) must be at least 1 part")
        if not 1 <= self.bits <= 12:
            raise ValueError(f"pq(bits={self.bits}) must lie in 1..12")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"pq(seed={self.seed}) must lie in 0..2^31")

    def fit_sample(self, sample: Sample) -> Self:
        """Learn the centroids from a sample; raises `WrongSize` for m > d, `Degenerate` for fewer rows than centroids."""
        k = 2**self.bits
        if len(sample) < k:
            raise Degenerate(f"pq(bits={self.bits}) needs at least {k} distinct sentences, not {len(sample)}")
        ids = np.sort(np.random.default_rng(self.seed).permutation(len(sample))[: _PER_CENTROID * k])
        x = sample.rows(ids)
        if self.m > x.shape[1]:
            raise WrongSize(f"m={self.m} is larger than the {x.shape[1]} columns the vectors have; lower it")
        self.centroids, self._made = product_centroids(self._pad(x), self.m, self.bits, self.seed), None
        lost = sum(float(((self(part) - part) ** 2).sum()) for part in np.array_split(x, -(-len(x) // _BLOCK)))
        spread = float(x.var(axis=0, dtype=np.float64).sum() * len(x))
        self.report = {"rows": len(ids), "lost_variance": float(f"{lost / spread if spread else 0.0:.4g}")}
        return self

    def codes(self, x: Floats) -> NDArray[np.uint8]:
        """Return the codes (n, ceil(m bits / 8)) of the rows of x (n, d), packed like faiss's."""
        quantizer, found = self._quantizer(), []
        for start in range(0, max(len(x), 1), _BLOCK):
            found.append(quantizer.compute_codes(self._pad(x[start : start + _BLOCK])))
        return np.concatenate(found)

    def __call__(self, x: Floats) -> NDArray[np.float32]:
        """Return the decoded vectors (n, d) of the rows of x (n, d)."""
        back: NDArray[np.float32] = self._quantizer().decode(self.codes(x))
        return back[:, : x.shape[1]]

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector's codes."""
        return bit_bytes(self.m * self.bits)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the centroids."""
        return {"centroids": self.centroids}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore the centroids."""
        self.centroids, self.report, self._made = state["centroids"], report, None
        return self

    def _pad(self, x: Floats) -> NDArray[np.float32]:
        missing = -x.shape[1] % self.m
        return np.ascontiguousarray(np.pad(x, ((0, 0), (0, missing))), dtype=np.float32)

    def _quantizer(self) -> Any:
        if self._made is None:
            import faiss

            self._made = faiss.ProductQuantizer(self.m * self.centroids.shape[2], self.m, self.bits)
            faiss.copy_array_to_vector(self.centroids.ravel(), self._made.centroids)
        return self._made


METHOD = PQ

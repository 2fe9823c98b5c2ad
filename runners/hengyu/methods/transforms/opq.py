"""opq(m, bits): the rotation after which product quantization of m parts loses least."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, WrongSize
from hengyu.methods.base import Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "Opq"]

_PER_CENTROID = 256  # rows per centroid that suffice for training, as in faiss


@dataclass
class Opq(SampleTransform):
    """Rotates rows so that `pq` or ``ivfpq`` of ``m`` parts and ``bits`` bits replaces them with the least error; (n, d) to (n, d).

    Ge, He, Ke, Sun, Optimized product quantization, CVPR 2013, by faiss (``OPQMatrix``): rotation and centroids in turn, 50
    rounds, on at most 256 distinct rows per centroid. Write ``opq(m=16) > pq(m=16)`` or ``opq(m=16) > ivfpq(m=16)``.
    """

    m: int
    bits: int = 8
    matrix: NDArray[np.float32] = field(init=False, repr=False)  # (d, d)
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    affine = True

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ValueError(f"opq(m={self.m}) must be at least 1 part")
        if not 1 <= self.bits <= 12:
            raise ValueError(f"opq(bits={self.bits}) must lie in 1..12")

    def fit_sample(self, sample: Sample) -> Self:
        """Learn the rotation; raises `WrongSize` where m does not divide d, `Degenerate` for fewer rows than centroids."""
        import faiss

        k = 2**self.bits
        if len(sample) < k:
            raise Degenerate(f"opq(bits={self.bits}) needs at least {k} distinct sentences, not {len(sample)}")
        ids = np.sort(np.random.default_rng(0).permutation(len(sample))[: _PER_CENTROID * k])
        x = np.ascontiguousarray(sample.rows(ids), np.float32)
        if x.shape[1] % self.m:
            raise WrongSize(f"opq(m={self.m}) does not divide the {x.shape[1]} columns; give an m that does")
        quantizer = faiss.ProductQuantizer(x.shape[1], self.m, self.bits)
        quantizer.cp.min_points_per_centroid = 1  # faiss would warn on stderr
        trained: Any = faiss.OPQMatrix(x.shape[1], self.m)
        trained.pq = quantizer
        trained.train(x)
        self.matrix = faiss.vector_to_array(trained.A).reshape(x.shape[1], x.shape[1])
        self.report = {"rows": len(ids)}
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the rotated rows (n, d) of x (n, d)."""
        return x @ self.matrix.T

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the rotation."""
        return {"matrix": self.matrix}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore the rotation."""
        self.matrix, self.report = state["matrix"], report
        return self


METHOD = Opq

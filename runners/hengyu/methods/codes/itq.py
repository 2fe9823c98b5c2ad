"""itq(bits, seed): PCA, then the rotation that minimises the quantization error of signs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, WrongSize
from hengyu.methods.base import Code, Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.moments import Moments
from hengyu.numerics.projections import orthogonal
from hengyu.numerics.sample import Sample
from hengyu.numerics.signs import bit_bytes, signs_of

__all__ = ["METHOD", "ITQ"]

_ROUNDS = 50  # as in the paper
_MOST = 20_000  # distinct rows to find the rotation from


@dataclass
class ITQ(SampleTransform, Code):
    """Maps x to sign((x - mean) U R), as +1 and -1; (n, d) to (n, bits), int8.

    Gong and Lazebnik, Iterative quantization: a Procrustean approach to learning binary codes (CVPR 2011). U are the
    first ``bits`` principal axes; R starts as a random rotation and is improved 50 times: codes B = sign(V R), then the
    rotation that brings V = (x - mean) U closest to B, from the SVD of B^T V. It uses at most 20,000 distinct rows, drawn
    by ``seed`` and weighted by their counts.
    """

    bits: int
    seed: int = 0
    mean: NDArray[np.float64] = field(init=False, repr=False)
    matrix: NDArray[np.float64] = field(init=False, repr=False)  # U R, (d, bits)
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise ValueError(f"itq(bits={self.bits}) must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"itq(seed={self.seed}) must lie in 0..2^63")

    def fit_sample(self, sample: Sample) -> Self:
        """Learn from a sample; raises `WrongSize` for more bits than columns, `Degenerate` for more bits than directions."""
        moments = Moments.of(sample)
        d, rank = len(moments.mean), moments.spectrum.rank()
        if self.bits > d:
            raise WrongSize(f"bits={self.bits} is larger than the {d} columns the vectors have; lower it")
        if self.bits > rank:
            raise Degenerate(f"it is fitted on vectors that span {rank} directions, too few for bits={self.bits}")
        axes = moments.spectrum.vectors[:, : self.bits]
        rng = np.random.default_rng(self.seed)
        ids = np.sort(rng.permutation(len(sample))[:_MOST])
        v = (sample.rows(ids) - moments.mean) @ axes
        times = sample.counts[ids].astype(np.float64)[:, None]
        rotation = orthogonal(self.bits, self.bits, self.seed)
        losses = []
        for _ in range(_ROUNDS):
            z = v @ rotation
            b = np.where(z > 0, 1.0, -1.0)
            losses.append(float((times * (b - z) ** 2).mean() / times.mean()))
            left, _, right = np.linalg.svd((v * times).T @ b)
            rotation = left @ right
        self.mean, self.matrix = moments.mean, axes @ rotation
        self.report = {"rows": len(ids), "loss": [float(f"{losses[0]:.6g}"), float(f"{losses[-1]:.6g}")]}
        return self

    def __call__(self, x: Floats) -> NDArray[np.int8]:
        """Return the signs (n, bits) of the rows of x (n, d)."""
        return signs_of((x - self.mean) @ self.matrix)

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector's packed signs."""
        return bit_bytes(width)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return mean and matrix."""
        return {"mean": self.mean, "matrix": self.matrix}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore mean and matrix."""
        self.mean, self.matrix, self.report = state["mean"], state["matrix"], report
        return self


METHOD = ITQ

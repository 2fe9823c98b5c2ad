"""int8: one byte per dimension, between the smallest and the largest value seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Code, Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "Int8"]

_STEPS = 255


@dataclass
class Int8(SampleTransform, Code):
    """Rounds every column to one of 256 buckets between its least and greatest fitted value; (n, d) to (n, d), float32.

    The codes are those of sentence-transformers' int8 quantization, floor((x - least) / step) - 128 with step =
    (greatest - least) / 255, clipped to -128..127; they are implemented here because importing that package takes longer
    than a run. Pairs are compared by the middles of the buckets, not by the codes, whose cosines would be those of vectors
    shifted and rescaled column by column. A constant column is kept unchanged.
    """

    least: NDArray[np.float32] = field(init=False, repr=False)
    step: NDArray[np.float32] = field(init=False, repr=False)
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def fit_sample(self, sample: Sample) -> Self:
        """Learn the ranges of a sample, block by block."""
        low = high = None
        for rows, _ in sample.blocks():
            low = rows.min(axis=0) if low is None else np.minimum(low, rows.min(axis=0))
            high = rows.max(axis=0) if high is None else np.maximum(high, rows.max(axis=0))
        if low is None or high is None:
            raise ValueError("int8 has no rows to be fitted on; it needs at least 1")
        self.least = low.astype(np.float32)
        self.step = (high.astype(np.float32) - self.least) / np.float32(_STEPS)
        self.report = {"dead_columns": int((self.step == 0).sum())}
        return self

    def codes(self, x: Floats) -> NDArray[np.int8]:
        """Return the codes (n, d), one byte per value, of the rows of x (n, d)."""
        buckets = np.floor((x - self.least) / np.where(self.step == 0, np.float32(1), self.step))
        return (np.clip(buckets, 0, _STEPS) - 128).astype(np.int8)

    def __call__(self, x: Floats) -> NDArray[np.float32]:
        """Return the middles (n, d) of the buckets of the rows of x (n, d)."""
        middles: NDArray[np.float32] = self.least + (self.codes(x).astype(np.float32) + np.float32(128.5)) * self.step
        return middles

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector."""
        return width

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the ranges."""
        return {"least": self.least, "step": self.step}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore the ranges."""
        self.least, self.step, self.report = state["least"], state["step"], report
        return self


METHOD = Int8

"""biohash(expand, active, epochs, seed): the fruit fly's hash with synapses that learn where the data are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.methods.base import Code, Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.sample import Sample
from hengyu.numerics.winners import check_shares, code_bytes, sizes, winners

__all__ = ["METHOD", "BioHash"]

_BATCH = 100  # rows per update, as in the published code
_RATE = 0.02  # the first step; it falls to 0 over the epochs
_MOST = 20_000  # distinct rows it learns from
_BLOCK = 512


@dataclass
class BioHash(SampleTransform, Code):
    """Marks the strongest ``active`` share of ``expand`` d units that learned; (n, d) to (n, expand d), int8.

    Ryali, Hopfield, Grinberg and Krotov, Bio-inspired hashing for unsupervised similarity search (ICML 2020), with
    p = 2 and Delta = 0 as there: for every x the unit with the largest ``<w, x>`` moves by ``rate (x - <w, x> w)``, which
    keeps its length near 1 and takes it to where the data are dense; the code is the winners of W x. Rows are centred and
    brought to length 1 first. Learns from at most 20,000 distinct rows, drawn by ``seed``, in batches of 100.
    """

    expand: int = 4
    active: float = 0.05
    epochs: int = 10
    seed: int = 0
    mean: NDArray[np.float64] = field(init=False, repr=False)
    synapses: NDArray[np.float64] = field(init=False, repr=False)  # (d, expand d)
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_shares("biohash", self.expand, self.active)
        if not 1 <= self.epochs <= 1000:
            raise ValueError(f"biohash(epochs={self.epochs}) must lie in 1..1000")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"biohash(seed={self.seed}) must lie in 0..2^63")

    def fit_sample(self, sample: Sample) -> Self:
        """Learn from a sample; raises `Degenerate` if all rows are the same."""
        rng = np.random.default_rng(self.seed)
        x = sample.rows(np.sort(rng.permutation(len(sample))[:_MOST])).astype(np.float64)
        self.mean = x.mean(axis=0)
        noise = 1e-9 * np.abs(x).max(initial=0)  # rounding differences between equal rows
        x -= self.mean
        length = np.linalg.norm(x, axis=1)
        x = x[length > noise] / length[length > noise, None]
        if len(x) < 2:
            raise Degenerate("it is fitted on vectors that are all the same, so there is nothing to learn")
        units, k = sizes(x.shape[1], self.expand, self.active)
        w = (rng.normal(size=(units, x.shape[1])) / np.sqrt(x.shape[1])).astype(np.float32)
        x = x.astype(np.float32)
        won = np.zeros(units, np.int64)
        for epoch in range(self.epochs):
            rate = _RATE * (1 - epoch / self.epochs)
            order = rng.permutation(len(x))
            for start in range(0, len(x), _BATCH):
                _update(w, x[order[start : start + _BATCH]], rate, won)
        self.synapses = np.ascontiguousarray(w.T, dtype=np.float64)
        self.report = {"rows": len(x), "units": units, "winners": k, "units_that_learned": int((won > 0).sum())}
        return self

    def __call__(self, x: Floats) -> NDArray[np.int8]:
        """Return the codes (n, expand d) of the rows of x (n, d)."""
        units, k = sizes(x.shape[1], self.expand, self.active)
        out = np.empty((len(x), units), np.int8)
        for start in range(0, len(x), _BLOCK):
            out[start : start + _BLOCK] = winners((x[start : start + _BLOCK] - self.mean) @ self.synapses, k)
        return out

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one code, stored as positions of winners or as bits."""
        return code_bytes(width, max(1, round(self.active * width)))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return mean and synapses."""
        return {"mean": self.mean, "synapses": self.synapses}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore mean and synapses."""
        self.mean, self.synapses, self.report = state["mean"], state["synapses"], report
        return self


def _update(w: NDArray[np.float32], x: NDArray[np.float32], rate: float, won: NDArray[np.int64]) -> None:
    """Move the winning units (m, d) for the rows x (b, d), in place; the largest change of the batch is ``rate``."""
    response = x @ w.T
    best = response.argmax(axis=1)
    strength = response[np.arange(len(x)), best]
    units, place = np.unique(best, return_inverse=True)
    change = np.zeros((len(units), x.shape[1]), np.float32)
    np.add.at(change, place, x - strength[:, None] * w[best])
    largest = float(np.abs(change).max())
    if largest > 0:
        w[units] += rate / largest * change
    won[units] += 1


METHOD = BioHash

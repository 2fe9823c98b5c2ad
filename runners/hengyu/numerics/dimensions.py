"""How many dimensions real vectors need: what is left of their cosines in fewer, by principal axes and by random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.metrics import spearman
from hengyu.numerics.moments import Moments
from hengyu.numerics.projections import draw
from hengyu.numerics.similarity import cosines

__all__ = ["Dimensions", "Kept", "measure_dimensions"]

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]
SHARES = (0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Kept:
    """What is left in ``dim`` dimensions.

    Attributes:
        change: the absolute change of the cosine that 95 % of random pairs do not exceed: principal axes, random axes.
        score: Spearman with the labels of the task's pairs, x 1: the same two.
    """

    dim: int
    change: tuple[float, float]
    score: tuple[float, float]


@dataclass(frozen=True)
class Dimensions:
    """The spectrum of vectors, and what fewer dimensions leave of them.

    Attributes:
        effective_rank: see `hengyu.numerics.moments.effective_rank`.
        holding: share of the variance (`SHARES`) -> the number of principal axes that hold it.
        score: Spearman of all dimensions.
        kept: by dimension, ascending.
    """

    effective_rank: float
    holding: dict[float, int]
    score: float
    kept: tuple[Kept, ...]

    def enough(self, eps: float, column: int) -> int | None:
        """Return the smallest measured dimension in which 95 % of the cosines change by at most eps; None if none does."""
        return next((k.dim for k in self.kept if k.change[column] <= eps), None)


def measure_dimensions(
    x: Floats, first: Ids, second: Ids, labels: Floats, dims: list[int], *, pairs: int = 20_000, seeds: int = 5
) -> Dimensions:
    """Measure the vectors x (n, d) of a task's sentences, centred, with its pairs (p,) and their labels.

    Random axes are those of ``jl``, the mean of ``seeds`` draws. Dimensions above d are left out for principal axes.
    """
    moments = Moments.of(x)
    centred = np.asarray(x, np.float64) - moments.mean
    spectrum = moments.spectrum
    shares = np.cumsum(spectrum.values.clip(0)) / max(float(spectrum.values.clip(0).sum()), 1e-300)
    holding = {s: int(np.searchsorted(shares, s - 1e-12)) + 1 for s in SHARES}
    rng = np.random.default_rng((0, *b"dimensions"))
    a = rng.integers(0, len(x), pairs)
    b = (a + rng.integers(1, len(x), pairs)) % len(x)
    before = cosines(centred, a, b)

    def look(z: Floats) -> tuple[float, float]:
        change = float(np.quantile(np.abs(cosines(z, a, b) - before), 0.95))
        return change, spearman(cosines(z, first, second), labels)

    turned = centred @ spectrum.vectors
    kept = []
    for dim in dims:
        own = look(turned[:, :dim])
        others = np.mean([look(draw("gaussian", x.shape[1], dim, seed)(centred)) for seed in range(seeds)], axis=0)
        kept.append(Kept(dim, (own[0], float(others[0])), (own[1], float(others[1]))))
    return Dimensions(spectrum.effective_rank, holding, spearman(cosines(centred, first, second), labels), tuple(kept))

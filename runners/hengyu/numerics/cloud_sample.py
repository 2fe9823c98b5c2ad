"""Embedding geometry from a sample, cheap enough for every method of a run: seeded and rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.cloud import Cloud, describe_cuts

__all__ = ["BINS", "SAMPLE", "CloudSample"]

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]
BINS = 90  # of the angles, 2 degrees each: in many dimensions most pairs are within a few degrees of a right angle
_ROWS = 4096  # sentences at most, for covariance and spectrum
_WIDE, _WIDE_ROWS = 1024, 512  # vectors with more columns: fewer rows, whose inner products have the same eigenvalues
_HUBS = 512  # rows of these, for the hubness
_PAIRS = 10_000  # pairs of these rows, for angles, anisotropy and uniformity
_DIGITS, _PLACES = 6, 8

SAMPLE: dict[str, int] = {
    "rows": _ROWS,
    "wide": _WIDE,
    "wide_rows": _WIDE_ROWS,
    "hub_rows": _HUBS,
    "pairs": _PAIRS,
    "bins": BINS,
}
"""The sample sizes; stored geometry from other sample sizes is computed again."""


@dataclass(frozen=True)
class CloudSample:
    """Samples the vectors of a run; all methods on a task use the same rows, drawn by ``seed``."""

    seed: int
    pairs: int = _PAIRS

    def rows(self, n: int, width: int) -> Ids:
        """Return the sampled rows, ascending, of n vectors of ``width`` columns."""
        most = _WIDE_ROWS if width > _WIDE else _ROWS
        if n <= most:
            return np.arange(n)
        return np.sort(np.random.default_rng((self.seed, *b"glimpse")).permutation(n)[:most])

    def of(self, x: Floats, dims: Sequence[int], alignment: Sequence[float | None]) -> list[dict[str, Any]]:
        """Describe the first k columns of the rows x (n, d) for each k of ``dims`` (ascending) as JSON, one object per k.

        ``alignment`` holds one value per k (see `hengyu.numerics.cloud.Cloud`). Vectors that cannot be described give the reason
        under "problem".
        """
        try:
            found = describe_cuts(x, dims, rows=_HUBS, pairs=self.pairs, seed=self.seed, bins=BINS)
        except (Degenerate, ValueError) as e:
            return [{"dim": int(k), "problem": str(e)} for k in dims]
        return [_json(c, a) for c, a in zip(found, alignment, strict=True)]


def _json(cloud: Cloud, alignment: float | None) -> dict[str, Any]:
    """Return a `Cloud` as JSON: numbers are rounded, and empty bins at both ends of the angles are left out."""
    filled = [i for i, share in enumerate(cloud.angles) if share]
    row = asdict(cloud) | {"alignment": alignment}
    row["angles"] = cloud.angles[filled[0] : filled[-1] + 1]
    return {key: _rounded(value) for key, value in row.items()} | {"angles_from": filled[0]}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    # anything smaller is rounding error, which differs from run to run
    return float(f"{round(value, _PLACES):.{_DIGITS}g}") + 0.0 if isinstance(value, float) else value

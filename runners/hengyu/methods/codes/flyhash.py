"""flyhash(expand, active, seed): the fruit fly's hash, a sparse random expansion whose strongest units win."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Code, Floats
from hengyu.numerics.winners import check_shares, code_bytes, sizes, winners

__all__ = ["METHOD", "FlyHash"]

_SHARE = 0.1  # share of the inputs that a unit sums, as in the fly
_BLOCK = 64  # rows; their columns stay in the cache


@dataclass
class FlyHash(Code):
    """Marks the strongest ``active`` share of ``expand`` d random sums of x; (n, d) to (n, expand d), int8.

    Dasgupta, Stevens and Navlakha, A neural algorithm for a fundamental computing problem (Science 358, 2017): each of
    ``expand`` * d units sums a tenth of the inputs, chosen at random, and the units with the largest sums win: 1, the
    others 0. Pairs are compared by the cosine of their codes, the share of common winners. Every unit sums the same number
    of inputs, so the fly's first step, giving all vectors the same mean, would change nothing and is omitted. If the scales
    of the columns differ much, use ``standardize > flyhash``.
    """

    expand: int = 20
    active: float = 0.05
    seed: int = 0
    _inputs: dict[int, NDArray[np.int64]] = field(init=False, repr=False, default_factory=dict)

    needs_fit = False

    def __post_init__(self) -> None:
        check_shares("flyhash", self.expand, self.active)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"flyhash(seed={self.seed}) must lie in 0..2^63")

    def fit(self, x: Floats) -> Self:
        """Learn nothing: the draw depends only on the seed and the width."""
        return self

    def __call__(self, x: Floats) -> NDArray[np.int8]:
        """Return the codes (n, expand d) of the rows of x (n, d)."""
        d = x.shape[1]
        units, k = sizes(d, self.expand, self.active)
        if d not in self._inputs:
            self._inputs[d] = _draw(d, units, self.seed)
        out = np.empty((len(x), units), np.int8)
        for start in range(0, len(x), _BLOCK):
            columns = np.ascontiguousarray(x[start : start + _BLOCK].T, dtype=np.float64)
            sums = np.empty((units, columns.shape[1]))
            _kernel()(columns, self._inputs[d], sums)
            out[start : start + _BLOCK] = winners(sums.T, k)
        return out

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one code, stored as positions of winners or as bits."""
        return code_bytes(width, max(1, round(self.active * width)))


def _draw(d: int, units: int, seed: int) -> NDArray[np.int64]:
    """Return the inputs (units, d/10) that each unit sums, drawn without replacement, ascending."""
    rng = np.random.default_rng((seed, *b"flyhash"))
    return np.sort(np.argsort(rng.random((units, d)), axis=1)[:, : max(1, round(_SHARE * d))], axis=1)


@cache
def _kernel() -> Callable[..., None]:
    import numba

    # the product with a 0/1 matrix takes ten times as many operations; sums have the same order in any block
    # cache=False: numba's on-disk cache is a pickle, and no pickle is read or written here
    @numba.njit(nogil=True, cache=False)  # type: ignore[untyped-decorator]
    def kernel(columns: Any, inputs: Any, sums: Any) -> None:
        width = columns.shape[1]
        for unit in range(inputs.shape[0]):
            total = sums[unit]
            total[:] = 0.0
            for at in range(inputs.shape[1]):
                column = columns[inputs[unit, at]]
                for row in range(width):
                    total[row] += column[row]

    compiled: Callable[..., None] = kernel
    return compiled


METHOD = FlyHash
